"""What the Mosaic GPU kernels share: tiles of keys and values in SMEM, their loading by page, products and scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention.layout import WGMMA_ROWS
from pallas_kernels.paged_attention.score import ScoreMod

LOG2E = math.log2(math.e)
LOWEST = -1e30  # far below any score, yet differences of two of them do not overflow
WGMMA = plgpu.Layout.WGMMA
WIDENED = jnp.dtype("float16")  # holds every float8 exactly, and Hopper converts float8 to no other 16 bits
WIDENING = plgpu.Layout.WGMMA_UPCAST_2X  # a thread has 4 neighbours of a row: 32 bits of float8, 64 of float16
SIDE = WGMMA_ROWS  # of the squares that are swizzled, hence of slices of SMEM: 128 bytes in 16 bits, 64 in 8


@dataclass(frozen=True)
class Pages:
    """How tiles of keys lie in the pool. A box, brought by one TMA copy, is a page or as much of one as fits a tile."""

    page_size: int
    tile: int
    kv_heads: int

    @property
    def box(self) -> int:
        return min(self.page_size, self.tile)

    @property
    def boxes(self) -> int:
        """Of a tile."""
        return self.tile // self.box

    def view(self, pool: jax.Array) -> jax.Array:
        """pool [layers, pages, 2, hkv, slots, d] -> [boxes, box, d]."""
        return pool.reshape(-1, self.box, pool.shape[-1])

    def places(self, held: Any, head: Any, tile: Any) -> list[jax.Array]:
        """Where in view() the keys of a tile are, a box each. held(i): where the sequence's page i is in the pool."""
        per_page = self.page_size // self.box
        rows = []
        for i in range(self.boxes):
            box = tile * self.boxes + i
            page = lax.div(box, jnp.int32(per_page))
            rows.append((held(page) * (2 * self.kv_heads) + head) * per_page + (box - page * per_page))
        return rows

    def copy(self, source: Any, places: list[jax.Array], kv: int, target: Any, arrived: Any) -> None:
        """Start the copies of a tile of keys (kv 0) or values (1) from `source`, which is view() in GMEM, to SMEM."""
        offset = kv * self.kv_heads * (self.page_size // self.box)
        for i, place in enumerate(places):
            plgpu.copy_gmem_to_smem(source.at[place + offset], target.at[pl.ds(i * self.box, self.box)], arrived)


def drain(barriers: tuple[Any, ...], done: jax.Array, slots: int) -> None:
    """Wait for all that is still to be read, of `done` uses of `slots` slots: a block must not end before."""

    def wait(i: jax.Array, _: None) -> None:
        for barrier in barriers:
            plgpu.barrier_wait(barrier.at[lax.rem(i, jnp.int32(slots))])

    lax.fori_loop(jnp.maximum(done - slots, 0), done, wait, None)


def swizzled(shape: tuple[int, ...], dtype: Any) -> Any:
    """SMEM [..., rows, columns] that TMA fills and a product reads; columns are a multiple of 64."""
    tiling = plgpu.TilingTransform((8, SIDE))  # type: ignore[abstract]
    swizzle = plgpu.SwizzleTransform(SIDE * jnp.dtype(dtype).itemsize)  # type: ignore[abstract]
    return plgpu.SMEM(shape, dtype, transforms=(tiling, swizzle))


def accumulator(shape: tuple[int, ...]) -> Any:
    """Of a product, in registers. GPU interpret mode cannot run one that starts from a value."""
    rows, columns = shape
    return plgpu.ACC((rows, columns), jnp.float32)


def product(a: Any, b: Any, shape: tuple[int, ...]) -> jax.Array:
    """a @ b in float32."""

    def multiply(sums: Any) -> Any:
        plgpu.wgmma(sums, a, b)
        return sums[...]

    made: jax.Array = pl.run_scoped(multiply, accumulator(shape))
    return made


def add_product(sums: jax.Array, a: Any, b: Any) -> jax.Array:
    """sums + a @ b, accumulated on the tensor cores; a may be in registers. GPU interpret mode cannot run it."""
    added: jax.Array = pl.run_state(lambda acc: plgpu.wgmma(acc, a, b))(plgpu.ACC.init(sums))
    return added


def logit_unit(score: ScoreMod, alibi: bool) -> float:
    """What a unit of logits() is in log2.

    The factor stands behind the subtraction of the maximum, exp2((s - top) * unit): a product before a difference
    would be contracted to a multiply-add in some loops and, for a mask between the two, not in others.
    """
    if alibi:
        return 1.0
    return LOG2E * (score.scale if score.soft_cap is None else score.soft_cap)


def logits(s: jax.Array, score: ScoreMod, slope: jax.Array | None, distance: jax.Array) -> jax.Array:
    """Of q.k. slope: ALiBi's in log2, for each element; distance: from key to query, int32."""
    if score.soft_cap is not None:
        s = jnp.tanh(s * (score.scale / score.soft_cap))
    if slope is None:
        return s
    scale = score.scale if score.soft_cap is None else score.soft_cap
    return s * (scale * LOG2E) - slope * distance.astype(jnp.float32)


def clear_unseen(values: Any, first_key: Any, begin: Any, end: Any) -> None:
    """Zero the rows of a tile of values outside of keys begin:end: they may hold NaN, and 0 times NaN is NaN."""

    def clear(i: jax.Array, _: None) -> None:  # in squares, for want of registers
        column = pl.multiple_of(i * SIDE, SIDE)
        for row in range(0, values.shape[0], SIDE):
            piece = values.at[pl.ds(row, SIDE), pl.ds(column, SIDE)]
            key = plgpu.broadcasted_iota(jnp.int32, (SIDE, SIDE), 0, layout=WGMMA) + (first_key + row)
            held = plgpu.load(piece, layout=WGMMA)
            piece[...] = jnp.where((key >= begin) & (key < end), held, jnp.zeros_like(held))

    lax.fori_loop(0, values.shape[1] // SIDE, clear, None)
    plgpu.commit_smem()


def widen(narrow: Any, wide: Any) -> None:
    """A tile of float8 as float16: a product takes a transposed operand, as values are, in 16 bits only."""

    def rows(i: jax.Array, _: None) -> None:
        for column in range(0, narrow.shape[1], SIDE):
            piece = pl.ds(pl.multiple_of(i * SIDE, SIDE), SIDE), pl.ds(column, SIDE)
            wide[piece] = plgpu.load(narrow.at[piece], layout=WIDENING).astype(wide.dtype)

    lax.fori_loop(0, narrow.shape[0] // SIDE, rows, None)
    plgpu.commit_smem()


def filled(shape: tuple[int, ...], value: float, layout: Any) -> jax.Array:
    return plgpu.layout_cast(jnp.full(shape, value, jnp.float32), layout)
