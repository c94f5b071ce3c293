"""StarCoder and SantaCoder: GPT-2 with one key-value head, and tensors in [out, in] order."""

from __future__ import annotations

from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import gpt2
from jaxpaged.models.hf_config import given, need
from jaxpaged.models.spec import DecoderSpec

# With a key-value head for each query head, the fused tensor goes head by head.
TRANSFORMS = {None: None, "transpose": None, "transpose_rows": "interleaved", "rows": "interleaved"}
WEIGHTS = replace(
    gpt2.WEIGHTS,
    rules=tuple(replace(rule, transform=TRANSFORMS[rule.transform]) for rule in gpt2.WEIGHTS.rules),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    kv_heads = 1 if given(config, "multi_query", True) else need(config, "n_head")
    return gpt2.spec_from_hf(config).with_mixers(kv_heads=kv_heads)


ARCHITECTURE = Architecture(
    names=("GPTBigCodeForCausalLM",),
    model_type="gpt_bigcode",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=gpt2.ARCHITECTURE.used_keys | {"multi_query"},
    # num_key_value_heads: written from multi_query, never read.
    ignored_keys=gpt2.SUMMARY_KEYS
    | {"attention_softmax_in_fp32", "num_key_value_heads", "scale_attention_softmax_in_fp32"},
    fixed_keys={"scale_attn_weights": True},
)
