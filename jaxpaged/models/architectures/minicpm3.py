"""MiniCPM 3: latent attention in a Llama whose embedding, branches and logits are scaled."""

from __future__ import annotations

import math
from dataclasses import replace

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import latent
from jaxpaged.models.hf_config import given, need, per_head
from jaxpaged.models.spec import DecoderSpec, Head

DEFAULT_EMBEDDING, DEFAULT_DEPTH, DEFAULT_BASE = 12, 1.4, 256


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden = need(config, "hidden_size")
    value_dim = per_head(hidden, need(config, "num_attention_heads"))
    spec = latent.latent_spec(config, latent.latent_of(config, pairs="halves", value_dim=value_dim))
    branch = given(config, "scale_depth", DEFAULT_DEPTH) / math.sqrt(len(spec.layers))
    return replace(
        spec,
        embedding=replace(spec.embedding, scale=given(config, "scale_emb", DEFAULT_EMBEDDING)),
        layers=tuple(replace(layer, branch_scale=branch) for layer in spec.layers),
        head=Head(
            tied=given(config, "tie_word_embeddings", True),
            scale=given(config, "dim_model_base", DEFAULT_BASE) / hidden,
        ),
    )


ARCHITECTURE = Architecture(
    names=("MiniCPM3ForCausalLM",),
    model_type="minicpm3",
    spec_from_hf=spec_from_hf,
    weights=latent.WEIGHTS,
    used_keys=latent.KEYS | {"dim_model_base", "mlp_bias", "scale_depth", "scale_emb"},
    ignored_keys=latent.IGNORED,
)
