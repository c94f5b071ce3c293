"""Baichuan 1 and 2: Llama with one fused tensor for queries, keys and values; the 13B models have ALiBi positions."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import head_dim_of, need
from jaxpaged.models.spec import Alibi, DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

VOCAB_OF_2 = 125696  # what the code beside the checkpoints tells version 2 by; its head has unit rows
QKV = "layers.{i}.mixer.qkv"
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if rule.target != QKV),
        Rule("model.layers.{i}.self_attn.W_pack.weight", QKV, transform="rows"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    """The ALiBi models have a model_max_length alone, those with rotary positions max_position_embeddings too."""
    if config.get("max_position_embeddings") is None:
        longest = need(config, "model_max_length")
        spec = llama.llama_spec({**config, "max_position_embeddings": longest}, head_dim_of(config))
        spec = spec.with_mixers(position=Alibi())
    else:
        spec = llama.spec_from_hf(config)
    unit_rows = spec.vocab_size == VOCAB_OF_2
    return dataclasses.replace(spec, head=dataclasses.replace(spec.head, unit_rows=unit_rows))


ARCHITECTURE = Architecture(
    names=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    model_type="baichuan",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"tie_word_embeddings"}) | {"model_max_length"},
    fixed_keys={"tie_word_embeddings": False},
)
