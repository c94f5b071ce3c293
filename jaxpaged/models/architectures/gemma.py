"""Gemma: Llama with norms around zero, a scaled embedding and heads of their own size."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, need
from jaxpaged.models.spec import Activation, DecoderSpec, Embedding, GatedMLP, Head, PreNorm, RMSNorm

DEFAULT_HEAD_DIM = 256


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.llama_spec(config, given(config, "head_dim", DEFAULT_HEAD_DIM))
    norm = RMSNorm(given(config, "rms_norm_eps", 1e-6), offset=1.0)
    ffn = GatedMLP(need(config, "intermediate_size"), _activation(config))
    return dataclasses.replace(
        spec.with_layers(ffn=ffn, residual=PreNorm(norm)),
        embedding=Embedding(spec.hidden_size, scale=spec.hidden_size**0.5),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


def _activation(config: Config) -> Activation:
    """Published files say gelu and mean its approximation by tanh."""
    name = given(config, "hidden_activation", given(config, "hidden_act", "gelu_pytorch_tanh"))
    found = activation_of({"hidden_activation": name}, "hidden_activation", name)
    return "gelu_tanh" if found == "gelu" else found


ARCHITECTURE = Architecture(
    names=("GemmaForCausalLM",),
    model_type="gemma",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias", "hidden_activation"},
    fixed_keys={"use_bidirectional_attention": False},
)
