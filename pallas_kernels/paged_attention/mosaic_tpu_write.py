"""The kernel that puts the keys and values of chunks into their pages on TPUs, one page a grid step.

A page's registers hold several slots, so a page is read, merged in vector memory and written back. The tokens of the
step lie at another offset from a register's start than their slots do: a 0-1 matrix moves them, which is exact.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu


class PageWrites(NamedTuple):
    """One entry per page that chunks write to, Int32[n]; the first `count` are in use.

    Slot i of page `ids` gets token origin + i of the step, if that lies in begin:end.
    """

    count: jax.Array  # Int32[]
    ids: jax.Array
    origin: jax.Array
    begin: jax.Array
    end: jax.Array


def page_writes(
    tokens: int,
    page_table: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    distribution: jax.Array,
    page_size: int,
) -> PageWrites:
    """The pages that sequences distribution[0]:distribution[2] write to."""
    sequences = kv_lens.shape[0]
    index = jnp.arange(sequences, dtype=jnp.int32)
    chunk = (index >= distribution[0]) & (index < distribution[2])
    q_lens = jnp.where(chunk, cu_q_lens[1:] - cu_q_lens[:-1], 0)
    first_page = (kv_lens - q_lens) // page_size
    pages = jnp.where(q_lens > 0, (kv_lens - 1) // page_size - first_page + 1, 0)
    ends = jnp.cumsum(pages)

    most = tokens // page_size + 2 * min(sequences, tokens)
    entry = jnp.arange(most, dtype=jnp.int32)
    sequence = jnp.sum((entry[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    sequence = jnp.minimum(sequence, sequences - 1)
    page = first_page[sequence] + entry - (ends - pages)[sequence]
    used = entry < ends[-1]
    ids = jnp.where(used, page_table[sequence, jnp.clip(page, 0, page_table.shape[1] - 1)], 0)
    begin, end = cu_q_lens[sequence], cu_q_lens[sequence + 1]
    return PageWrites(ends[-1], ids, end - kv_lens[sequence] + page * page_size, begin, end)


def write_chunks(pool: jax.Array, layer: jax.Array, rows: jax.Array, writes: PageWrites, vmem_limit: int) -> jax.Array:
    """The pool (layout.FUSED_AXES) with rows [hkv, t, 2 * half] of the step's tokens in their pages. layer [1]."""
    kv_heads, page, width = pool.shape[2:]
    blocks = pl.cdiv(rows.shape[1], page)
    # A page's tokens lie in two neighbouring blocks; the last block needs a neighbour.
    rows = jnp.pad(rows, ((0, 0), (0, (blocks + 1) * page - rows.shape[1]), (0, 0)))
    block = jnp.clip(writes.origin // page, 0, blocks - 1)
    in_pool = pl.BlockSpec(
        (None, None, kv_heads, page, width), lambda i, layer, ids, *_: (layer[0], ids[i], 0, 0, 0)
    )
    in_rows = [
        pl.BlockSpec((kv_heads, page, width), lambda i, layer, ids, block, *_, k=k: (0, block[i] + k, 0))
        for k in range(2)
    ]
    return pl.pallas_call(
        partial(_kernel, page),
        out_shape=jax.ShapeDtypeStruct(pool.shape, pool.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=6,
            grid=(writes.count,),
            in_specs=[*in_rows, in_pool],
            out_specs=in_pool,
        ),
        input_output_aliases={8: 0},
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("arbitrary",), vmem_limit_bytes=vmem_limit, disable_bounds_checks=True
        ),
        name="paged_attention_write",
    )(layer, writes.ids, block, writes.origin, writes.begin, writes.end, rows, rows, pool)


def _kernel(
    page: int,
    layer: jax.Ref,
    ids: jax.Ref,
    block: jax.Ref,
    origin: jax.Ref,
    begin: jax.Ref,
    end: jax.Ref,
    lower: jax.Ref,
    upper: jax.Ref,
    old: jax.Ref,
    new: jax.Ref,
) -> None:
    i = pl.program_id(0)
    first = block[i] * page
    exact = jnp.float32 if old.dtype == jnp.float32 else jnp.bfloat16

    def ours(token: jax.Array) -> jax.Array:
        return (token >= begin[i]) & (token < end[i])

    slot = origin[i] + lax.broadcasted_iota(jnp.int32, (page, page), 0)
    column = first + lax.broadcasted_iota(jnp.int32, (page, page), 1)
    row = first + lax.broadcasted_iota(jnp.int32, (page, 1), 0)
    written = ours(origin[i] + lax.broadcasted_iota(jnp.int32, (page, 1), 0))

    def moved(head: int, part: jax.Ref, k: int) -> jax.Array:
        move = (column + k * page == slot).astype(jnp.float32).astype(exact)
        rows = part[head].astype(jnp.float32)
        rows = jnp.where(ours(row + k * page), rows, 0.0).astype(exact)
        precision = lax.Precision.HIGHEST if exact == jnp.float32 else None
        return lax.dot(move, rows, precision=precision, preferred_element_type=jnp.float32)

    for head in range(old.shape[0]):
        rows = moved(head, lower, 0) + moved(head, upper, 1)
        new[head] = jnp.where(written, rows, old[head].astype(jnp.float32)).astype(new.dtype)
