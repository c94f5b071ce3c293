"""Rotary positions as data, and the ways to reach beyond the trained length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxpaged.errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """NTK-aware base that grows with the served length beyond `original_max_position`."""

    factor: float
    original_max_position: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071): slow dimensions are interpolated, fast ones kept, with a ramp between."""

    factor: float
    original_max_position: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1: long wavelengths divided by `factor`, short ones kept, with a blend between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


@dataclass(frozen=True, slots=True)
class LongRopeScaling:
    """LongRoPE (arXiv 2402.13753): a factor per frequency; the served length decides between short and long."""

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position: int
    attention_factor: float = 1.0


RopeScaling = LinearScaling | DynamicScaling | YarnScaling | Llama3Scaling | LongRopeScaling


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions on the first `dim` dimensions of each head, in pairs (i, i + dim/2) or (2i, 2i + 1)."""

    dim: int
    theta: float
    pairs: Literal["halves", "adjacent"] = "halves"
    scaling: RopeScaling | None = None


def check_rope(rope: Rope, head_dim: int) -> None:
    """Raise UnsupportedModelError when a head of so many dimensions cannot be rotated so."""
    if rope.dim < 2 or rope.dim % 2 or rope.dim > head_dim:
        raise UnsupportedModelError(
            f"config.json rotates {rope.dim} of a head's {head_dim} dimensions; that must be an even number of "
            "them; fetch the file again."
        )
    scaling = rope.scaling
    if isinstance(scaling, LongRopeScaling):
        for name, factors in (("short_factor", scaling.short_factor), ("long_factor", scaling.long_factor)):
            if len(factors) != rope.dim // 2:
                raise UnsupportedModelError(
                    f"config.json has {len(factors)} numbers in {name}, but {rope.dim // 2} pairs of dimensions are "
                    "rotated; fetch the file again."
                )
