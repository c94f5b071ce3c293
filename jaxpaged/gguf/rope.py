"""Rotary positions as GGUF describes them, in config.json's words."""

from __future__ import annotations

from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.gguf.metadata import Metadata

FACTORS = "rope_freqs.weight"  # what each frequency is divided by; Llama 3.1 has them instead of a scaling's name
LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"
TABLES = (FACTORS, LONG_FACTORS, SHORT_FACTORS)


def rope_settings(metadata: Metadata, theta: float = 10000.0) -> dict[str, Any]:
    """rope_theta and rope_scaling; `theta` where the file does not say."""
    settings = {"rope_theta": metadata.get("rope.freq_base", theta)}
    scaling = _scaling(metadata)
    return settings if scaling is None else {**settings, "rope_scaling": scaling}


def _scaling(metadata: Metadata) -> dict[str, Any] | None:
    length = metadata.get("context_length")
    original = metadata.get("rope.scaling.original_context_length", length)
    factors = metadata.tensor(FACTORS)
    if factors is not None:
        return _divided(factors.tolist(), factors.tolist(), length, 1.0)
    long, short = metadata.tensor(LONG_FACTORS), metadata.tensor(SHORT_FACTORS)
    if long is not None and short is not None:
        return _divided(short.tolist(), long.tolist(), original, metadata.get("rope.scaling.attn_factor"))
    factor = metadata.get("rope.scaling.factor", metadata.get("rope.scale_linear"))
    match metadata.get("rope.scaling.type", "none" if factor in (None, 0.0, 1.0) else "linear"):
        case "none":
            return None
        case "linear":
            return {"rope_type": "linear", "factor": factor}
        case "yarn":
            fast, slow = (metadata.get(f"rope.scaling.yarn_beta_{name}") for name in ("fast", "slow"))
            known = {"factor": factor, "beta_fast": fast, "beta_slow": slow}
            return {"rope_type": "yarn", "original_max_position_embeddings": original, **known}
        case kind:
            raise UnsupportedModelError(f"{metadata.file} scales its rotary positions by {kind!r}, which is not read.")


def _divided(short: list[float], long: list[float], original: int | None, attention: float | None) -> dict[str, Any]:
    """Frequencies divided one by one: "longrope", with factors for short and for long contexts."""
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": original,
        "attention_factor": attention,
    }
