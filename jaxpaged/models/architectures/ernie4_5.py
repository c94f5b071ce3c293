"""ERNIE 4.5, dense: Llama with rotary pairs side by side and one key for all biases."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, need, rope_of
from jaxpaged.models.spec import DecoderSpec, GatedMLP, Head

DEFAULT_HEAD_DIM, DEFAULT_THETA = 128, 500_000.0


def spec_from_hf(config: Config) -> DecoderSpec:
    dim, bias = given(config, "head_dim", DEFAULT_HEAD_DIM), given(config, "use_bias", False)
    spec = llama.llama_spec(config, dim, rope_of(config, dim, theta=DEFAULT_THETA, pairs="adjacent"))
    ffn = GatedMLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"), bias)
    spec = spec.with_mixers(qkv_bias=bias, out_bias=bias).with_layers(ffn=ffn)
    return dataclasses.replace(spec, head=Head(tied=given(config, "tie_word_embeddings", True)))


ARCHITECTURE = Architecture(
    names=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    model_type="ernie4_5",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"use_bias"},
)
