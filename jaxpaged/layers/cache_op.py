"""How a mixer that is not attention reaches what its layer keeps: by an operation of its own, on pages or without.

    state, out = attend.apply(state, place, op, *arrays)

In a step the op gets the pages of its layer; where there is no cache (training, scoring) it gets whole sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Int32

from jaxpaged.layers.context import Place
from pallas_kernels.paged_attention import Sequences

Axes = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class LayerPages:
    """The pages of one layer in a step, as one device has them.

    pool: [layer, page, ...] as the cache kind says, all layers of the group; `layer` is a scalar. page_size: in tokens.
    sequences: as paged_attention takes them; token_places() tells each token's place. Page 0 is for padding.
    """

    page_size: int
    pool: Array
    layer: Int32[Array, ""]
    sequences: Sequences


@runtime_checkable
class CacheOp(Protocol):
    """An operation across tokens. Static: what changes from call to call is in its arrays.

    inputs, output: logical names of the axes of each array, "shard" for the tokens; they decide what is split over the
    devices (sharding/rules.py).
    """

    @property
    def inputs(self) -> tuple[Axes, ...]: ...

    @property
    def output(self) -> Axes: ...

    def paged(self, pages: LayerPages, /, *arrays: Array) -> tuple[Array, Array]:
        """The output for the new tokens, and the pool in which they are."""
        ...

    def dense(self, positions: Int32[Array, "t"], segments: Int32[Array, "t"] | None, /, *arrays: Array) -> Array:
        """The output for sequences without a cache: tokens of equal `segments` (None: all) at these positions."""
        ...


@runtime_checkable
class CacheAccess[State](Protocol):
    """The part of the decoder's attention argument that other mixers use."""

    def apply(self, state: State, place: Place, op: CacheOp, /, *arrays: Array) -> tuple[State, Array]: ...
