"""Gemma 3, text: Gemma 2 with norms on queries and keys, five local layers to a global one, a rope for each kind."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import gemma2
from jaxpaged.models.hf_config import given, layer_types_of, need, rope_of, windowed_types
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import DecoderSpec, RMSNorm

DEFAULT_PATTERN = 6
GLOBAL_THETA, LOCAL_THETA = 1_000_000.0, 10_000.0


def spec_from_hf(config: Config) -> DecoderSpec:
    pattern = given(config, "sliding_window_pattern", given(config, "_sliding_window_pattern", DEFAULT_PATTERN))
    return gemma2.sandwich_spec(
        config,
        types=layer_types_of(config, windowed_types(config, pattern)),
        ropes=_ropes(config),
        max_position=need(config, "max_position_embeddings"),
        caps=(config.get("attn_logit_softcapping"), config.get("final_logit_softcapping")),
        qk_norm=RMSNorm(given(config, "rms_norm_eps", 1e-6), offset=1.0),
    )


def _ropes(config: Config) -> dict[str, Rope]:
    """The scaling is for the global layers only, unless rope_parameters has an entry for each kind."""
    dim = given(config, "head_dim", gemma2.DEFAULT_HEAD_DIM)
    local = given(config, "rope_local_base_freq", LOCAL_THETA)
    parameters = given(config, "rope_parameters", {})
    if "sliding_attention" in parameters:
        sliding = rope_of(config, dim, layer_type="sliding_attention", theta=local)
    else:
        sliding = Rope(dim, float(local))
    return {
        "full_attention": rope_of(config, dim, layer_type="full_attention", theta=GLOBAL_THETA),
        "sliding_attention": sliding,
    }


ARCHITECTURE = Architecture(
    names=("Gemma3ForCausalLM",),
    model_type="gemma3_text",
    spec_from_hf=spec_from_hf,
    weights=gemma2.WEIGHTS,
    used_keys=gemma2.KEYS | {"_sliding_window_pattern", "rope_local_base_freq", "sliding_window_pattern"},
    ignored_keys=frozenset({"hidden_act"}),
    fixed_keys={"use_bidirectional_attention": False},
)
