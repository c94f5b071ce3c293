"""The definition, row by row: for tests."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def grouped_matmul(x: jax.Array, w: jax.Array, sizes: jax.Array, *, tile: int | None = None) -> jax.Array:
    """As api.grouped_matmul; it multiplies every row by every group's matrix."""
    ends = jnp.cumsum(sizes)
    group = jnp.searchsorted(ends, jnp.arange(len(x)), side="right")
    products = jnp.einsum("mk,gnk->gmn", x.astype(jnp.float32), w.astype(jnp.float32), precision="highest")
    mine = jnp.take_along_axis(products, jnp.minimum(group, len(sizes) - 1)[None, :, None], axis=0)[0]
    return jnp.where((group < len(sizes))[:, None], mine, 0)
