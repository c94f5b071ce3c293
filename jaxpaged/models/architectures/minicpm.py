"""MiniCPM: Llama whose embedding, branches and logits are scaled."""

from __future__ import annotations

import math
from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec, Head


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config)
    base = given(config, "dim_model_base", 1)
    return replace(
        spec.with_layers(branch_scale=given(config, "scale_depth", 1.0) / math.sqrt(len(spec.layers))),
        embedding=replace(spec.embedding, scale=given(config, "scale_emb", 1.0)),
        head=Head(tied=given(config, "tie_word_embeddings", True), scale=base / spec.hidden_size),
    )


ARCHITECTURE = Architecture(
    names=("MiniCPMForCausalLM",),
    model_type="minicpm",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"attention_bias", "dim_model_base", "scale_depth", "scale_emb"},
    fixed_keys={"num_experts": 0},
)
