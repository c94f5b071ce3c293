"""Decode attention over pages on Hopper: split-KV, warp-specialised, in Pallas Mosaic GPU.

A work item is one key head of one split of one sequence. Persistent blocks take items in turn. In each block one
warpgroup brings tiles of keys and values into a ring in SMEM by TMA and runs ahead across items; the other one does
the online softmax. Products stand on their heads: keys are the 64 rows of the left operand, the few query heads of a
key head the columns, so that nothing is computed for padding but up to a multiple of 8.
Flash-decoding (Dao et al. 2023) with FlashAttention-3's roles.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.decode_attend import attend_item
from pallas_kernels.paged_attention.mosaic_gpu.decode_load import load_item
from pallas_kernels.paged_attention.mosaic_gpu.decode_refs import Buffers, DecodeShape, Item, Work, item_of, scratch
from pallas_kernels.paged_attention.mosaic_gpu.tiles import drain
from pallas_kernels.paged_attention.score import ScoreMod


def split_range(length: jax.Array, split: int, window: int | None) -> tuple[jax.Array, jax.Array]:
    """First split that holds a visible key and the end of the splits, Int32[s] each; equal where the length is 0."""
    first = jnp.zeros_like(length) if window is None else jnp.maximum(length - window, 0) // split
    return first, jnp.where(length > 0, (length - 1) // split + 1, first)


def work_list(first: jax.Array, end: jax.Array, splits: int) -> Work:
    """The splits first:end of each sequence, one sequence after the other."""
    sequences = len(first)
    ends = jnp.cumsum(end - first, dtype=jnp.int32)
    item = jnp.arange(sequences * splits, dtype=jnp.int32)
    sequence = jnp.sum((item[:, None] >= ends[None, :]).astype(jnp.int32), axis=1)
    sequence = jnp.minimum(sequence, sequences - 1)
    return Work(sequence, end[sequence] + item - ends[sequence], jnp.sum(end - first, dtype=jnp.int32, keepdims=True))


def decode_splits(
    q: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    page_table: jax.Array,
    length: jax.Array,
    work: Work,
    slopes: jax.Array | None,
    *,
    shape: DecodeShape,
    score: ScoreMod,
) -> tuple[jax.Array, jax.Array]:
    """Attention within each split: weighted sums of values, float32 [sequences, splits, hkv, d, columns], and float32
    [sequences, splits, hkv, 2, columns], the largest logit (log2) and the sum of weights relative to it.

    q: [sequences, hkv, columns, d], padded as the pool is. pool: [layers, pages, 2, hkv, page, d] in q's dtype or in
    float8, then q is WIDENED. slopes: float32 [hkv, columns] or None. Splits that are not in the work list keep
    whatever the memory held.
    """
    pages = shape.pages
    items = shape.sequences * shape.splits * pages.kv_heads
    first_page = (layer.astype(jnp.int32) * pool.shape[1]).reshape(1)
    operands = [q, pages.view(pool), page_table, length, first_page, *work]
    operands += [] if slopes is None else [slopes]
    kernel = plgpu.kernel(
        partial(_kernel, shape=shape, score=score, alibi=slopes is not None),
        out_type=(
            jax.ShapeDtypeStruct((items, shape.head_dim, shape.columns), jnp.float32),
            jax.ShapeDtypeStruct((items, 2, shape.columns), jnp.float32),
        ),
        grid=(shape.blocks,),
        grid_names=("block",),
        num_threads=2,
        thread_name="warpgroup",
        scratch_types=scratch(shape, q.dtype, pool.dtype),
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="paged_decode",
    )
    values, softmax = kernel(*operands)
    lead = (shape.sequences, shape.splits, pages.kv_heads)
    return values.reshape(*lead, shape.head_dim, shape.columns), softmax.reshape(*lead, 2, shape.columns)


def _kernel(*refs: Any, shape: DecodeShape, score: ScoreMod, alibi: bool) -> None:
    q, source, table, kv_lens, first_page, sequences, splits, count, *others = refs
    slopes = others.pop(0) if alibi else None
    values, softmax, *scratch = others
    buffers = Buffers(*scratch)
    block, heads = lax.axis_index("block"), shape.pages.kv_heads
    turns = jnp.maximum(lax.div(count[0] * heads - block + (shape.blocks - 1), jnp.int32(shape.blocks)), 0)

    def item(turn: jax.Array) -> Item:
        at = block + turn * shape.blocks
        entry = lax.div(at, jnp.int32(heads))
        return item_of(sequences[entry], splits[entry], at - entry * heads, kv_lens, shape, score.window)

    @pl.when(lax.axis_index("warpgroup") == 0)
    def _consume() -> None:
        attend = partial(attend_item, item, buffers, slopes, values, softmax, shape, score)
        lax.fori_loop(0, turns, attend, jnp.int32(0))

    @pl.when(lax.axis_index("warpgroup") == 1)
    def _produce() -> None:
        load = partial(load_item, item, buffers, q, source, table, first_page[0], shape)
        done = lax.fori_loop(0, turns, load, jnp.int32(0))
        drain((buffers.k_free, buffers.v_free), done, shape.stages)
        drain((buffers.q_free,), turns, 2)
