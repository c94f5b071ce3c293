"""InternLM 1: Llama with a bias on queries, keys, values and the output."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec


def spec_from_hf(config: Config) -> DecoderSpec:
    bias = given(config, "bias", True)
    return llama.spec_from_hf(config).with_mixers(qkv_bias=bias, out_bias=bias)


ARCHITECTURE = Architecture(
    names=("InternLMForCausalLM",),
    model_type="internlm",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"bias"},
    # What the chat models' configs say; its frequencies change only beyond max_position_embeddings.
    fixed_keys={"rotary": {"base": 10000, "type": "dynamic"}},
)
