"""Batches of sequences, as the arguments of the op, that tests, benches and tuning share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pallas_kernels.paged_attention.example_specs import Spec
from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.sequences import Sequences


class Arrays(NamedTuple):
    """The array arguments of api.paged_attention, in its order, and the optional ones by name."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    pool: jax.Array
    layer: jax.Array
    sequences: Sequences
    options: dict[str, jax.Array]

    @property
    def args(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, Sequences]:
        return self[:-1]


@dataclass(frozen=True)
class Batch:
    """Sequences as (tokens already in pages, new tokens), in the order of the step: single new tokens first.

    sequences: width of the metadata, tokens: padded tokens of the step, pages: of the pool, table_width: pages of a
    row of the page table; None chooses the least that fits.
    """

    lengths: tuple[tuple[int, int], ...]
    sequences: int | None = None
    tokens: int | None = None
    pages: int | None = None
    table_width: int | None = None
    layers: int = 2
    layer: int = 1
    seed: int = 0
    fill: float = 0.0  # what free pages, unwritten slots and the null page hold
    key_scale: float = field(default=2.0)  # makes the softmax peaked enough for mistakes to show

    @property
    def decodes(self) -> int:
        singles = [new == 1 for _, new in self.lengths]
        return singles.index(False) if False in singles else len(singles)


def make(spec: Spec, batch: Batch, layout: PoolLayout, dtype: jnp.dtype = jnp.float32) -> Arrays:
    """Arguments whose contents depend on the seed, each sequence's place in `lengths` and token positions only.

    Contents of a sequence: see `sequence_contents`; so the same sequence can be put into different batches.
    """
    drawn = [sequence_contents(spec, batch.seed + i, sum(pair)) for i, pair in enumerate(batch.lengths)]
    return assemble(spec, batch, drawn, layout, dtype)


def sequence_contents(spec: Spec, seed: int, length: int) -> np.ndarray:
    """float32 [hq + 2 hkv, length, d]: queries, keys, values of a sequence; a prefix for a shorter length."""
    heads = spec.q_heads + 2 * spec.kv_heads
    rng = np.random.default_rng(seed)
    return rng.standard_normal((length, heads, spec.head_dim), dtype=np.float32).swapaxes(0, 1)


def assemble(
    spec: Spec, batch: Batch, drawn: Sequence[np.ndarray], layout: PoolLayout, dtype: jnp.dtype = jnp.float32
) -> Arrays:
    """Arguments for sequences whose contents are `drawn`, in pages chosen at random."""
    page, count = spec.page_size, len(batch.lengths)
    held = [-(-sum(pair) // page) for pair in batch.lengths]
    width = batch.table_width or max([*held, 1])
    sequences = batch.sequences or max(count, 1)
    new_tokens = sum(new for _, new in batch.lengths)
    tokens = batch.tokens or max(new_tokens, 1)
    pages = batch.pages or sum(held) + 4
    rng = np.random.default_rng(batch.seed)
    free = list(rng.permutation(np.arange(1, pages)))

    shape = (batch.layers, pages, 2, spec.kv_heads, page, spec.head_dim)
    pool = np.full(shape, batch.fill, np.float32)
    table = np.zeros((sequences, width), np.int32)
    kv_lens = np.zeros(sequences, np.int32)
    cu_q_lens = np.full(sequences + 1, new_tokens, np.int32)
    new = np.zeros((spec.q_heads + 2 * spec.kv_heads, tokens, spec.head_dim), np.float32)
    at = 0
    for s, ((old, fresh), contents) in enumerate(zip(batch.lengths, drawn, strict=True)):
        table[s, : held[s]] = [free.pop() for _ in range(held[s])]
        kv_lens[s], cu_q_lens[s] = old + fresh, at
        kv = contents[spec.q_heads :].reshape(2, spec.kv_heads, -1, spec.head_dim)
        for first in range(0, old, page):
            part = kv[:, :, first : min(first + page, old)]
            pool[batch.layer, table[s, first // page], :, :, : part.shape[2]] = part
        new[:, at : at + fresh] = contents[:, old : old + fresh]
        at += fresh
    if spec.window is not None:
        _forget_behind_window(table, batch, spec)

    stored = layout.join(jnp.asarray(pool.reshape(-1, *shape[2:]), dtype))
    stored = stored.reshape(*shape[:2], *stored.shape[1:])
    q, k, v = np.split(new.swapaxes(0, 1), [spec.q_heads, spec.q_heads + spec.kv_heads], axis=1)
    distribution = np.asarray([batch.decodes, count, count], np.int32)
    arranged = Sequences(*(jnp.asarray(x) for x in (table, kv_lens, cu_q_lens, distribution)))
    layer = jnp.asarray(np.int32(batch.layer))
    scaled, k_new, v_new = (jnp.asarray(x, dtype) for x in (q * batch.key_scale, k, v))
    return Arrays(scaled, k_new, v_new, stored, layer, arranged, _options(spec))


def _options(spec: Spec) -> dict[str, jax.Array]:
    options = {}
    if spec.alibi:
        options["alibi_slopes"] = jnp.asarray(0.7 ** np.arange(1, spec.q_heads + 1), jnp.float32)
    if spec.sinks:
        options["sinks"] = jnp.asarray(np.linspace(-2.0, 4.0, spec.q_heads), jnp.float32)
    return options


def _forget_behind_window(table: np.ndarray, batch: Batch, spec: Spec) -> None:
    """Null every page that lies wholly behind the window of a sequence's first new token, as the scheduler may."""
    assert spec.window is not None
    for s, (old, _) in enumerate(batch.lengths):
        table[s, : max(0, old - spec.window + 1) // spec.page_size] = 0
