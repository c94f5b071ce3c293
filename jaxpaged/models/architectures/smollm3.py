"""SmolLM 3: Llama, of whose layers every fourth has no positions."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, head_dim_of, layer_types_of, rope_of, rotated_layers_of, window_of
from jaxpaged.models.spec import DecoderSpec, Head

DEFAULT_THETA = 2_000_000.0


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    rope = rope_of(config, dim, theta=DEFAULT_THETA)
    window = window_of(config) if given(config, "use_sliding_window", False) else None
    rotated = rotated_layers_of(config)
    types = layer_types_of(
        config, tuple("full_attention" if turns or not window else "sliding_attention" for turns in rotated)
    )
    windows = {"full_attention": None, "sliding_attention": window}
    spec = llama.llama_spec(config, dim, rope).with_each_mixer(
        {"position": rope if turns else None, "window": windows[kind]}
        for turns, kind in zip(rotated, types, strict=True)
    )
    return dataclasses.replace(spec, head=Head(tied=given(config, "tie_word_embeddings", True)))


ARCHITECTURE = Architecture(
    names=("SmolLM3ForCausalLM",),
    model_type="smollm3",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS
    | {
        "attention_bias",
        "layer_types",
        "mlp_bias",
        "no_rope_layer_interval",
        "no_rope_layers",
        "sliding_window",
        "use_sliding_window",
    },
    ignored_keys=frozenset({"max_window_layers", "pretraining_tp"}),
)
