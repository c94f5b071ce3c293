"""The step's rows, written into their slots of the pool."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.tokens import TokenPlaces


def write_rows(pool: jax.Array, layer: jax.Array, rows: jax.Array, places: TokenPlaces) -> jax.Array:
    """The pool with rows [t, lanes] in their slots of `layer`, zeros in the lanes behind them."""
    padded = pad_lanes(rows, pool).astype(pool.dtype)
    return pool.at[layer, places.page, places.slot].set(padded, mode="promise_in_bounds")


def pad_lanes(x: jax.Array, pool: jax.Array) -> jax.Array:
    """[..., lanes] with zeros up to the lanes of the pool's rows."""
    spare = pool.shape[-1] - x.shape[-1]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spare)]) if spare else x
