"""Attention of prefill chunks over pages on Hopper: FlashAttention-3's roles, in Pallas Mosaic GPU.

A work item is one key head of a tile of 128 query rows of one sequence; a row is a token and one of the query heads of
the key head, so keys are read once for all of them. Persistent blocks take items in turn. In each block one warpgroup
brings queries and tiles of keys and values by TMA, and two consume them, 64 rows each, in ping-pong: one has the
tensor cores while the other works out its softmax (Shah et al. 2024, arXiv 2407.08608).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.chunk_attend import attend
from pallas_kernels.paged_attention.mosaic_gpu.chunk_load import Pool, load_item
from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import (
    CONSUMERS,
    Buffers,
    ChunkShape,
    Context,
    Rows,
    Tiles,
    item_of,
    scratch,
    turns_of,
)
from pallas_kernels.paged_attention.mosaic_gpu.tiles import drain
from pallas_kernels.paged_attention.score import ScoreMod


class _Registers(NamedTuple):
    """Of a thread; two consumers and a producer share 504."""

    consumer: int
    producer: int


REGISTERS, WIDENING_REGISTERS = _Registers(232, 40), _Registers(224, 56)


def chunk_tiles(
    q: jax.Array, rows: Rows, pool: jax.Array, layer: jax.Array, page_table: jax.Array, tiles: Tiles, *,
    shape: ChunkShape, score: ScoreMod,
) -> jax.Array:  # fmt: skip
    """Attention of the items' rows: [hkv, r, d] in q's dtype; what is in no item is arbitrary.

    q: [hkv, r, d], padded as the pool is; TILE_ROWS from the start of an item are within r.
    pool: [layers, pages, 2, hkv, page, d] in q's dtype or in float8, then q is WIDENED.
    """
    first_page = (layer.astype(jnp.int32) * pool.shape[1]).reshape(1)
    optional = [x for x in (rows.slope, rows.sink) if x is not None]
    operands = [q, shape.pages.view(pool), page_table, first_page, rows.position, *tiles, *optional]
    kernel = plgpu.kernel(
        partial(_kernel, shape=shape, score=score, alibi=rows.slope is not None, sinks=rows.sink is not None),
        out_type=jax.ShapeDtypeStruct(q.shape, q.dtype),
        grid=(shape.blocks,),
        grid_names=("block",),
        num_threads=CONSUMERS + 1,
        thread_name="warpgroup",
        scratch_types=scratch(shape, q.dtype, pool.dtype),
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="paged_chunk",
    )
    out: jax.Array = kernel(*operands)
    return out


def _kernel(*refs: Any, shape: ChunkShape, score: ScoreMod, alibi: bool, sinks: bool, **scratch: Any) -> None:
    q, source, table, first_page, position, *others = refs
    tiles = Tiles(*(others.pop(0) for _ in Tiles._fields))
    rows = Rows(position, others.pop(0) if alibi else None, others.pop(0) if sinks else None)
    (out,) = others
    buffers = Buffers(**scratch)
    block, warpgroup = lax.axis_index("block"), lax.axis_index("warpgroup")
    total = tiles.real[0] * shape.pages.kv_heads
    turns = turns_of(block, total, shape.blocks)
    registers = REGISTERS if buffers.narrow is None else WIDENING_REGISTERS
    context = Context(buffers, partial(item_of, tiles, shape, score, block), shape, score)

    @pl.when(warpgroup < CONSUMERS)
    def _consume() -> None:
        plgpu.set_max_registers(registers.consumer, action="increase")
        lax.fori_loop(0, turns, partial(attend, context, rows, out, warpgroup), jnp.int32(0))

    @pl.when(warpgroup == CONSUMERS)
    def _produce() -> None:
        plgpu.set_max_registers(registers.producer, action="decrease")
        load = partial(load_item, context, Pool(source, table, first_page[0]), q)
        done = lax.fori_loop(0, turns, load, jnp.int32(0))
        drain((buffers.k_free, buffers.v_free), done, shape.stages)

        @pl.when(turns > 0)
        def _wait_for_the_last_q() -> None:
            plgpu.barrier_wait(buffers.q_free)
