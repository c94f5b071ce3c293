"""The splits of each decoding sequence put together, in order, in Pallas Mosaic GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.mosaic_gpu.tiles import LOG2E, LOWEST, WGMMA, filled

AT_ONCE = 4  # splits whose reads overlap
PER_COLUMN = WGMMA.reduce(0)


def merge_splits(
    values: jax.Array, softmax: jax.Array, first: jax.Array, end: jax.Array, sinks: jax.Array | None, group: int,
    dtype: Any,
) -> jax.Array:  # fmt: skip
    """[s, hkv, group, d] in `dtype`: attention over the splits first:end (Int32[s]) of each sequence, 0 for none.

    values and softmax: see decode_splits. sinks: float32 [hkv, columns], logits without a value, or None.
    A kernel of its own, because XLA would read the splits that are not there, up to the longest context.
    """
    sequences, splits, heads, head_dim, columns = values.shape
    operands = [
        values.reshape(-1, head_dim, columns),
        softmax.reshape(-1, 2, columns),
        first,
        end,
        *([] if sinks is None else [sinks]),
    ]
    kernel = plgpu.kernel(
        partial(_kernel, splits=splits, heads=heads, has_sinks=sinks is not None),
        out_type=jax.ShapeDtypeStruct((sequences * heads, group, head_dim), dtype),
        grid=(sequences * heads,),
        grid_names=("row",),
        scratch_types=[plgpu.SMEM((columns, head_dim), dtype)],
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="paged_merge",
    )
    merged: jax.Array = kernel(*operands)
    return merged.reshape(sequences, heads, group, head_dim)


def _kernel(
    values: Any, softmax: Any, first: Any, end: Any, *refs: Any, splits: int, heads: int, has_sinks: bool
) -> None:
    *sinks, out, staged = refs
    row = lax.axis_index("row")
    sequence = lax.div(row, jnp.int32(heads))
    head = row - sequence * heads
    begin, stop = first[sequence], end[sequence]
    columns = values.shape[2]

    def merge(i: jax.Array, state: Any) -> Any:
        parts = []
        for j in range(AT_ONCE):
            split = begin + i * AT_ONCE + j
            at = (sequence * splits + jnp.minimum(split, stop - 1)) * heads + head
            top, total = (_load(softmax.at[at, k], PER_COLUMN) for k in (0, 1))
            there = jnp.broadcast_to(split < stop, (columns,))
            parts.append((_load(values.at[at], WGMMA), jnp.where(there, top, LOWEST), total))
        for part in parts:
            state = _add(state, part)
        return state

    state = (
        filled(values.shape[1:], 0.0, WGMMA),
        _load(sinks[0].at[head], PER_COLUMN) * LOG2E if has_sinks else filled((columns,), LOWEST, PER_COLUMN),
        filled((columns,), 1.0 if has_sinks else 0.0, PER_COLUMN),
    )
    rounds = lax.div(stop - begin + (AT_ONCE - 1), jnp.int32(AT_ONCE))
    acc, _, total = lax.fori_loop(0, rounds, merge, state)
    merged = (acc / _rows(jnp.where(total > 0, total, 1.0), acc.shape)).astype(staged.dtype)
    # A head's values together, as the product that follows reads them; XLA would take a pass over them for it.
    staged.T[...] = plgpu.layout_cast(merged, plgpu.Layout.WGMMA_TRANSPOSED)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(staged.at[pl.ds(0, out.shape[1])], out.at[row])
    plgpu.wait_smem_to_gmem(0)


def _add(state: Any, part: Any) -> Any:
    """Two of (weighted values [d, columns], largest logit [columns], sum of weights [columns]) put together."""
    (acc, top, total), (new, new_top, new_total) = state, part
    both = jnp.maximum(top, new_top)
    old, add = jnp.exp2(top - both), jnp.exp2(new_top - both)
    return acc * _rows(old, acc.shape) + new * _rows(add, acc.shape), both, total * old + new_total * add


def _load(ref: Any, layout: Any) -> jax.Array:
    loaded: jax.Array = plgpu.load(ref, layout=layout, optimized=False)
    return loaded


def _rows(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A value per column, repeated along the rows."""
    return lax.broadcast_in_dim(x, shape, [1])
