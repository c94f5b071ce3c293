"""Arcee (AFM): Llama with squared ReLU and no gate."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, need
from jaxpaged.models.spec import MLP, DecoderSpec


def spec_from_hf(config: Config) -> DecoderSpec:
    activation = activation_of(config, "hidden_act", "relu2")
    ffn = MLP(need(config, "intermediate_size"), activation, given(config, "mlp_bias", False))
    return llama.spec_from_hf(config).with_layers(ffn=ffn)


ARCHITECTURE = Architecture(
    names=("ArceeForCausalLM",),
    model_type="arcee",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias", "mlp_bias"},
)
