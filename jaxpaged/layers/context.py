"""What the layers of one forward pass know about their tokens, besides the hidden rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Array, Int32

from jaxpaged.layers.rope import Rotation, rotation
from jaxpaged.models.rope import Rope


@dataclass(frozen=True, slots=True)
class TokenContext:
    """Rotations by kind of rope, computed once for all layers. `adapters`: each token's adapter (None: no adapters)."""

    rotations: Mapping[Rope, Rotation]
    adapters: Int32[Array, "t"] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of the state is a layer's: its cache group, and its index among the group's layers, maybe traced."""

    group: int
    index: Int32[Array, ""]


def token_context(
    ropes: Iterable[Rope], positions: Int32[Array, "t"], max_position: int, adapters: Int32[Array, "t"] | None
) -> TokenContext:
    """The context of tokens at `positions` in a model served at `max_position` tokens."""
    return TokenContext({rope: rotation(rope, positions, max_position) for rope in ropes}, adapters)
