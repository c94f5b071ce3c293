"""InternLM 3: Llama with a key for the biases of queries, keys and values, and one for all others."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, head_dim_of, need
from jaxpaged.models.spec import DecoderSpec, GatedMLP


def spec_from_hf(config: Config) -> DecoderSpec:
    bias = given(config, "bias", False)
    ffn = GatedMLP(need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"), bias)
    spec = llama.llama_spec(config, head_dim_of(config), ffn=ffn)
    return spec.with_mixers(qkv_bias=given(config, "qkv_bias", False), out_bias=bias)


ARCHITECTURE = Architecture(
    names=("InternLM3ForCausalLM",),
    model_type="internlm3",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"bias", "qkv_bias"},
)
