"""What the layers of one forward pass know about their tokens, besides the hidden rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int32

from jaxpaged.layers.rope import Rotation, rotation
from jaxpaged.models.rope import Rope


@dataclass(frozen=True, slots=True)
class TokenContext:
    """Rotations by kind of rope, computed once for all layers. `adapters`: each token's adapter (None: no adapters).

    mesh: the devices of a step, tokens cut over `data`; None: all is on one. is_token: False for padding; None: no row
    is padding.
    """

    rotations: Mapping[Rope, Rotation]
    positions: Int32[Array, "t"]
    adapters: Int32[Array, "t"] | None = None
    mesh: Mesh | None = None
    is_token: Bool[Array, "t"] | None = None


@runtime_checkable
class StepRows(Protocol):
    """The part of the decoder's attention argument that knows a step's devices and its padding."""

    @property
    def mesh(self) -> Mesh: ...

    def is_token(self, rows: int) -> Bool[Array, "t"]:
        """Which of so many rows, those of all data shards, are tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of the state is a layer's: its cache group, and its index among the group's layers, maybe traced."""

    group: int
    index: Int32[Array, ""]


def token_context(
    ropes: Iterable[Rope],
    positions: Int32[Array, "t"],
    max_position: int,
    adapters: Int32[Array, "t"] | None,
    attend: object = None,
) -> TokenContext:
    """The context of tokens at `positions` in a model served at `max_position` tokens."""
    rotations = {rope: rotation(rope, positions, max_position) for rope in ropes}
    if not isinstance(attend, StepRows):
        return TokenContext(rotations, positions, adapters)
    return TokenContext(rotations, positions, adapters, attend.mesh, attend.is_token(len(positions)))
