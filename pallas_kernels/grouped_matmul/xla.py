"""Grouped products in plain XLA: a loop over tiles, each one product with its group's matrix."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.grouped_matmul.tiles import by_tiles, tile_rows


def grouped_matmul(x: jax.Array, w: jax.Array, sizes: jax.Array, *, tile: int | None = None) -> jax.Array:
    """As api.grouped_matmul. Rows of a CPU's result do not depend on each other, as its products' do not."""
    tile = tile or tile_rows(len(x), len(sizes))
    return by_tiles(x, sizes, partial(_multiply, w), tile)


def _multiply(w: jax.Array, rows: jax.Array, group: jax.Array) -> jax.Array:
    precision = lax.Precision.HIGHEST if rows.dtype == jnp.float32 else None
    matrix = lax.dynamic_index_in_dim(w, group, keepdims=False)
    return lax.dot_general(
        rows, matrix, (((1,), (1,)), ((), ())), precision=precision, preferred_element_type=jnp.float32
    )
