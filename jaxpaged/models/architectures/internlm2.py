"""InternLM 2: Llama with other names, and one tensor for queries, keys and values, by key-value head."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "model.layers.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("model.tok_embeddings.weight", "embedding.table"),
        Rule("model.norm.weight", "final_norm.weight"),
        Rule("output.weight", "head.weight"),
        Rule(f"{LAYER}.attention.wqkv.weight", f"{TARGET}.mixer.qkv", transform="interleaved"),
        Rule(f"{LAYER}.attention.wqkv.bias", f"{TARGET}.mixer.qkv_bias", transform="interleaved"),
        Rule(f"{LAYER}.attention.wo.weight", f"{TARGET}.mixer.out"),
        Rule(f"{LAYER}.attention.wo.bias", f"{TARGET}.mixer.out_bias"),
        Rule(f"{LAYER}.feed_forward.w1.weight", f"{TARGET}.ffn.gate_up", "gate"),
        Rule(f"{LAYER}.feed_forward.w3.weight", f"{TARGET}.ffn.gate_up", "up"),
        Rule(f"{LAYER}.feed_forward.w2.weight", f"{TARGET}.ffn.down"),
        Rule(f"{LAYER}.attention_norm.weight", f"{TARGET}.mixer_norm.weight"),
        Rule(f"{LAYER}.ffn_norm.weight", f"{TARGET}.ffn_norm.weight"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    bias = given(config, "bias", True)
    return llama.spec_from_hf(config).with_mixers(qkv_bias=bias, out_bias=bias)


ARCHITECTURE = Architecture(
    names=("InternLM2ForCausalLM",),
    model_type="internlm2",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | {"bias"},
)
