"""Seed-OSS: Llama with a bias on queries, keys and values, and another key for that of their output."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec

DEFAULT_HEAD_DIM = 128


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.llama_spec(config, given(config, "head_dim", DEFAULT_HEAD_DIM))
    bias, out_bias = given(config, "attention_bias", True), given(config, "attention_out_bias", False)
    return spec.with_mixers(qkv_bias=bias, out_bias=out_bias)


ARCHITECTURE = Architecture(
    names=("SeedOssForCausalLM",),
    model_type="seed_oss",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias", "attention_out_bias", "mlp_bias"},
    ignored_keys=frozenset({"pretraining_tp", "residual_dropout"}),
)
