"""The attention cases of an 8B Llama that a GPU is measured on, with their arrays made on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pallas_kernels.paged_attention import PoolLayout, ScoreMod, Sequences

QUERY_SCALE = 2.0  # makes the softmax peaked enough for mistakes to show
UNWRITTEN = 3  # slots at the end of each decode's last page
SPARE = 8  # pages that no sequence holds, and entries of each row of the page table that lead to one of them


@dataclass(frozen=True)
class Case:
    """`sequences` of `context` tokens: one new token of each (`decode`), or all of one's. `layers`: of the program.

    Layers are many enough that their keys and values, one after the other, do not stay in the cache.
    """

    name: str
    decode: bool
    sequences: int
    context: int
    layers: int
    q_heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    page_size: int = 32

    @property
    def tokens(self) -> int:
        return self.sequences if self.decode else self.context

    @property
    def length(self) -> int:
        """Tokens of each sequence after the step."""
        return self.context - UNWRITTEN if self.decode else self.context

    @property
    def pages(self) -> int:
        """Pages of one sequence."""
        return -(-self.context // self.page_size)

    @property
    def bytes(self) -> int:
        """The fewest that a layer moves: keys and values read once, queries read, outputs written."""
        kept = self.sequences * self.length * 2 * self.kv_heads * self.head_dim
        return 2 * (kept + 2 * self.tokens * self.q_heads * self.head_dim)

    @property
    def operations(self) -> int:
        """Floating-point operations of a layer's two products, below the diagonal alone."""
        seen = self.sequences * self.length if self.decode else self.context * (self.context + 1) // 2
        return 4 * self.q_heads * self.head_dim * seen

    @property
    def score(self) -> ScoreMod:
        return ScoreMod(scale=self.head_dim**-0.5)


CASES = (
    Case("decode 64 x 8k", True, 64, 8192, 4),
    Case("decode 64 x 1k", True, 64, 1024, 16),
    Case("decode 1 x 32k", True, 1, 32768, 16),
    Case("prefill 8k", False, 1, 8192, 4),
    Case("prefill 4k", False, 1, 4096, 4),
    Case("prefill 2k", False, 1, 2048, 8),
    Case("prefill 1k", False, 1, 1024, 8),
)
QUICK_CASES = (
    Case("decode 3 x 128", True, 3, 128, 2, q_heads=8, kv_heads=2, head_dim=64),
    Case("prefill 96", False, 1, 96, 2, q_heads=8, kv_heads=2, head_dim=64),
)


class Arrays(NamedTuple):
    """One step: per layer q, k, v of the new tokens; the pool of all layers; the sequences."""

    new: tuple[tuple[jax.Array, jax.Array, jax.Array], ...]
    pool: jax.Array
    sequences: Sequences


def make_arrays(case: Case, layout: PoolLayout, seed: int) -> Arrays:
    """Random bfloat16 values, pages in random order; the null page, spare pages and unwritten slots are NaN."""
    rng = np.random.default_rng(seed)
    held = case.sequences * case.pages
    order = rng.permutation(np.arange(1, 1 + held + SPARE))
    table = np.full((case.sequences, case.pages + SPARE), order[-1], np.int32)
    table[:, : case.pages] = order[:held].reshape(case.sequences, case.pages)
    kept = np.zeros((1 + held + SPARE, case.page_size), bool)
    kept[table[:, : case.pages]] = True
    kept[table[:, case.pages - 1], case.page_size - (UNWRITTEN if case.decode else 0) :] = False
    pool_key, *keys = jax.random.split(jax.random.key(seed), 1 + 3 * case.layers)
    shape = layout.shape(
        layers=case.layers, pages=len(kept), page_size=case.page_size, kv_heads=case.kv_heads, head_dim=case.head_dim
    )
    decodes = case.sequences if case.decode else 0
    starts = np.arange(case.sequences + 1) * (case.tokens // case.sequences)
    sequences = (table, np.full(case.sequences, case.length), starts, np.array([decodes, decodes, case.sequences]))
    return Arrays(
        tuple(_new_tokens(case, keys[3 * layer : 3 * layer + 3]) for layer in range(case.layers)),
        _random_pool(shape, layout, pool_key, jnp.asarray(kept)),
        Sequences(*(jnp.asarray(x, jnp.int32) for x in sequences)),
    )


def _new_tokens(case: Case, keys: list[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    heads = (case.q_heads, case.kv_heads, case.kv_heads)
    q, k, v = (
        jax.random.normal(key, (case.tokens, count, case.head_dim), jnp.bfloat16)
        for key, count in zip(keys, heads, strict=True)
    )
    return q * jnp.asarray(QUERY_SCALE, q.dtype), k, v


def _random_pool(shape: tuple[int, ...], layout: PoolLayout, key: jax.Array, kept: jax.Array) -> jax.Array:
    def make(key: jax.Array, kept: jax.Array) -> jax.Array:
        axes = layout.axes
        where = kept.reshape([n if axis in ("page", "slot") else 1 for axis, n in zip(axes, shape, strict=True)])
        values = jax.random.normal(key, shape, jnp.bfloat16)
        return jnp.where(where, values, jnp.asarray(jnp.nan, values.dtype))

    return jax.jit(make)(key, kept)
