"""The arrays of a case, made on the device."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpu.attention_cases import Case
from pallas_kernels.paged_attention import PoolLayout, Sequences

QUERY_SCALE = 2.0  # makes the softmax peaked enough for mistakes to show
SPARE = 8  # pages that no sequence holds, and entries of each row of the page table that lead to one of them


class Arrays(NamedTuple):
    """One step: per layer q, k, v of the new tokens; the pool of all layers; the sequences; values per query head."""

    new: tuple[tuple[jax.Array, jax.Array, jax.Array], ...]
    pool: jax.Array
    sequences: Sequences
    options: dict[str, jax.Array]


def make_arrays(case: Case, layout: PoolLayout, seed: int) -> Arrays:
    """Random values, pages in random order; the null page, spare pages and unwritten slots are NaN."""
    page, count = case.spec.page_size, len(case.lengths)
    held = [-(-sum(pair) // page) for pair in case.lengths]
    order = np.random.default_rng(seed).permutation(np.arange(1, 1 + sum(held) + SPARE))
    width = case.width or count
    table = np.full((width, max(held) + SPARE), order[-1], np.int32)
    kept = np.zeros((1 + len(order), page), bool)
    ends = np.cumsum(held)
    for row, ((old, _), pages, end) in enumerate(zip(case.lengths, held, ends, strict=True)):
        table[row, :pages] = order[end - pages : end]
        kept[table[row, : -(-old // page)]] = True
        if old % page:
            kept[table[row, old // page], old % page :] = False
    pool_key, new_key = jax.random.split(jax.random.key(seed))
    shape = layout.shape(
        layers=case.layers, pages=len(kept), page_size=page, kv_heads=case.spec.kv_heads, head_dim=case.spec.head_dim
    )
    return Arrays(
        jax.jit(partial(_new_tokens, case))(new_key),
        _random_pool(shape, layout, pool_key, jnp.asarray(kept), case.stored),
        _sequences(case, table),
        _options(case),
    )


def _sequences(case: Case, table: np.ndarray) -> Sequences:
    count, width = len(case.lengths), len(table)
    lengths = np.zeros(width, np.int32)
    lengths[:count] = [sum(pair) for pair in case.lengths]
    starts = np.full(width + 1, case.new_tokens, np.int32)
    starts[: count + 1] = np.cumsum([0, *(new for _, new in case.lengths)])
    distribution = np.array([case.decodes, count, count], np.int32)
    return Sequences(*(jnp.asarray(x) for x in (table, lengths, starts, distribution)))


def _options(case: Case) -> dict[str, jax.Array]:
    heads, options = case.spec.q_heads, {}
    if case.spec.alibi:
        options["alibi_slopes"] = jnp.asarray(0.5 ** np.linspace(1, 8, heads), jnp.float32)
    if case.spec.sinks:
        options["sinks"] = jnp.asarray(np.linspace(-2.0, 4.0, heads), jnp.float32)
    return options


def _new_tokens(case: Case, key: jax.Array) -> tuple[tuple[jax.Array, jax.Array, jax.Array], ...]:
    """q, k, v of each layer."""
    heads = (case.spec.q_heads, case.spec.kv_heads, case.spec.kv_heads)
    layers = []
    for keys in jax.random.split(key, (case.layers, 3)):
        q, k, v = (
            jax.random.normal(one, (case.tokens, count, case.spec.head_dim), jnp.bfloat16)
            for one, count in zip(keys, heads, strict=True)
        )
        layers.append((q * jnp.asarray(QUERY_SCALE, q.dtype), k, v))
    return tuple(layers)


def _random_pool(shape: tuple[int, ...], layout: PoolLayout, key: jax.Array, kept: jax.Array, stored: str) -> jax.Array:
    def make(key: jax.Array, kept: jax.Array) -> jax.Array:
        axes = layout.axes
        where = kept.reshape([n if axis in ("page", "slot") else 1 for axis, n in zip(axes, shape, strict=True)])
        values = jax.random.normal(key, shape, jnp.bfloat16).astype(stored)
        return jnp.where(where, values, jnp.asarray(jnp.nan, values.dtype))

    return jax.jit(make)(key, kept)
