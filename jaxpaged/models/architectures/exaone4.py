"""EXAONE 4: norms behind the branches and on each head; where there are windows, full layers have no positions."""

from __future__ import annotations

from typing import Any

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import gemma2, llama
from jaxpaged.models.hf_config import given, head_dim_of, layer_types_of, rope_of, window_of, windowed_types
from jaxpaged.models.spec import AfterNorm, DecoderSpec, RMSNorm

DEFAULT_WINDOW, DEFAULT_PATTERN = 4096, 4


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    rope, norm = rope_of(config, dim), RMSNorm(given(config, "rms_norm_eps", 1e-5))
    window = window_of(config, DEFAULT_WINDOW)
    pattern = 1 if window is None else given(config, "sliding_window_pattern", DEFAULT_PATTERN)
    changes: dict[str, dict[str, Any]] = {
        "full_attention": {"position": None if window else rope, "window": None},
        "sliding_attention": {"position": rope, "window": window},
    }
    types = layer_types_of(config, windowed_types(config, pattern))
    spec = llama.llama_spec(config, dim, rope).with_mixers(qk_norm=norm).with_layers(residual=AfterNorm(norm))
    return spec.with_each_mixer(changes[kind] for kind in types)


ARCHITECTURE = Architecture(
    names=("Exaone4ForCausalLM",),
    model_type="exaone4",
    spec_from_hf=spec_from_hf,
    weights=gemma2.WEIGHTS,
    used_keys=llama.KEYS | {"layer_types", "sliding_window", "sliding_window_pattern"},
)
