"""Granite 3: Llama whose embedding, scores, branches and logits are scaled."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config).with_mixers(scale=given(config, "attention_multiplier", 1.0))
    branch = given(config, "residual_multiplier", 1.0)
    return dataclasses.replace(
        spec,
        embedding=dataclasses.replace(spec.embedding, scale=given(config, "embedding_multiplier", 1.0)),
        layers=tuple(dataclasses.replace(layer, branch_scale=branch) for layer in spec.layers),
        head=dataclasses.replace(spec.head, scale=1 / given(config, "logits_scaling", 1.0)),
    )


ARCHITECTURE = Architecture(
    names=("GraniteForCausalLM",),
    model_type="granite",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS
    | {
        "attention_bias",
        "attention_multiplier",
        "embedding_multiplier",
        "logits_scaling",
        "mlp_bias",
        "residual_multiplier",
    },
)
