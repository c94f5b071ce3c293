"""Grouped products on a TPU: JAX's own Megablox kernel, which walks over row tiles of the groups that have rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.megablox.gmm import gmm

ROWS, COLUMNS = 128, 1024  # of a tile: rows of x; outputs, and inputs of one step of a sum
LANES = 128


def grouped_matmul(x: jax.Array, w: jax.Array, sizes: jax.Array, *, interpret: bool = False) -> jax.Array:
    """As api.grouped_matmul. Tiles follow from shapes alone, so a row's sum is added up the same way in every batch.

    The row tile of a group's end is multiplied for each group in it; rows of no group stay as the memory was.
    """
    rows, inputs = x.shape
    padded = jnp.pad(x, [(0, -rows % ROWS), (0, 0)])
    tiling = ROWS, _tile(inputs), _tile(w.shape[1])
    out: jax.Array = gmm(
        padded, w, sizes.astype(jnp.int32), jnp.float32, tiling=tiling, transpose_rhs=True, interpret=interpret
    )
    return out[:rows]


def _tile(size: int) -> int:
    """The largest multiple of LANES up to COLUMNS that divides the size; where there is none, all of it.

    A last tile that is not whole would make XLA pad, so copy, the experts' weights.
    """
    return max((tile for tile in range(LANES, COLUMNS + 1, LANES) if size % tile == 0), default=size)
