"""Blocks of keys and values, read from their pages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from pallas_kernels.paged_attention.layout import AXES
from pallas_kernels.paged_attention.xla.call import Call


def block_pages(table: jax.Array, block: jax.Array, held: jax.Array) -> jax.Array:
    """Page ids [n, pages] of block[n] of each row of `table`; pages without a slot in held [n, pages, slot]: page 0."""
    pages = held.shape[1]
    at = block[:, None] * pages + jnp.arange(pages, dtype=jnp.int32)[None, :]
    ids = jnp.take_along_axis(table, jnp.minimum(at, table.shape[1] - 1), axis=1, mode="promise_in_bounds")
    return jnp.where(jnp.any(held, axis=-1), ids, 0)


def read_block(call: Call, ids: jax.Array, held: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values [n * hkv * b, page_size, d] of pages ids[n, b] where held [n, b, page_size], else 0.

    Keys need no mask beside that of the scores, but it is free: see keep_held.
    """
    sizes = call.layout.sizes(call.pool)
    heads, page, head_dim = sizes["kv_head"], (sizes["slot"], sizes["head_dim"]), call.q.shape[-1]
    held = jnp.broadcast_to(held[:, None], (held.shape[0], heads, *held.shape[1:])).reshape(-1, page[0], 1)
    held = lax.optimization_barrier(held)
    if call.layout.axes == AXES:
        rows = call.pool.reshape(-1, *page)
        first = (call.layer * sizes["page"] + ids)[:, None, :] * (2 * heads)
        key_row = first + jnp.arange(heads, dtype=jnp.int32)[None, :, None]
        # The barriers keep the arithmetic of the indices out of the copying loop.
        at = lax.optimization_barrier((key_row.reshape(-1), (key_row + heads).reshape(-1)))
        keys, values = (rows.at[row].get(mode="promise_in_bounds")[..., :head_dim] for row in at)
    else:
        pages = call.pool.at[call.layer, ids.reshape(-1)].get(mode="promise_in_bounds")
        kv = call.layout.split(pages, head_dim).reshape(*ids.shape, 2, heads, page[0], head_dim)
        keys, values = kv.transpose(2, 0, 3, 1, 4, 5).reshape(2, -1, page[0], head_dim)
    return lax.optimization_barrier((keep_held(keys, held), keep_held(values, held)))


def keep_held(x: jax.Array, held: jax.Array) -> jax.Array:
    """x [rows, slot, d] where held [rows, slot, 1], else 0: NaN times 0 would be NaN.

    XLA:CPU fuses this bitwise and into the loop that copies the pages, as long as nothing is reshaped in between, and
    copies bfloat16 slots twice as fast with it as without it or with a select.
    """
    bits = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, bits) & -held.astype(bits), x.dtype)
