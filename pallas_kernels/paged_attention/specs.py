"""The shapes and score options that tests, benches and tuning share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod


@dataclass(frozen=True)
class Spec:
    """One attention layer's shape. alibi, sinks: whether the call passes them."""

    name: str
    q_heads: int
    kv_heads: int
    head_dim: int
    page_size: int = 32
    window: int | None = None
    soft_cap: float | None = None
    alibi: bool = False
    sinks: bool = False

    @property
    def score(self) -> ScoreMod:
        return ScoreMod(scale=self.head_dim**-0.5, window=self.window, soft_cap=self.soft_cap)


SPECS = (
    Spec("smol135", 9, 3, 64),
    Spec("gqa4_page16", 8, 2, 32, page_size=16),
    Spec("mha_page8", 4, 4, 16, page_size=8),
    Spec("mqa16", 16, 1, 80),
    Spec("page_of_256", 4, 2, 32, page_size=256),
    Spec("window", 4, 2, 32, page_size=16, window=37),
    Spec("window_of_one", 4, 4, 16, page_size=16, window=1),
    Spec("window_over_blocks", 4, 2, 32, page_size=16, window=150),
    Spec("soft_cap", 4, 2, 32, page_size=16, soft_cap=5.0),
    Spec("alibi", 6, 6, 16, page_size=16, alibi=True),
    Spec("sinks", 8, 2, 32, page_size=16, sinks=True),
    Spec("all_at_once", 6, 2, 48, page_size=16, window=50, soft_cap=10.0, alibi=True, sinks=True),
)
BY_NAME = MappingProxyType({spec.name: spec for spec in SPECS})
# Shapes of models as they are served: what kernels are compiled for, too large to compute with in tests.
MODEL_SPECS = (
    Spec("llama8b", 32, 8, 128),
    Spec("qwen7b", 28, 4, 128),
    Spec("smol135", 9, 3, 64),
    Spec("gemma2", 16, 8, 256, window=4096, soft_cap=50.0),
    Spec("falcon7b", 71, 1, 64),
    Spec("bloom", 32, 32, 128, alibi=True),
    Spec("phi3_page16", 32, 32, 96, page_size=16),
    Spec("gpt_oss_page128", 64, 8, 64, page_size=128, window=128, sinks=True),
)
# (implementation, spec, dtype of the pool) that the implementation refuses on its own hardware -> why.
HALF_A_REGISTER = "a page's slots do not fill a register of the TPU, and a copy moves whole registers"
THIRTY_TWO_BITS = "a Hopper product has no 32-bit operands of full precision"
REFUSED = MappingProxyType(
    {
        **{("mosaic_gpu", spec.name, "float32"): THIRTY_TWO_BITS for spec in (*SPECS, *MODEL_SPECS)},
        ("mosaic_tpu", "mha_page8", "bfloat16"): HALF_A_REGISTER,
        ("mosaic_tpu", "mha_page8", "float8_e4m3fn"): HALF_A_REGISTER,
        **{("mosaic_tpu", spec.name, "float8_e4m3fn"): HALF_A_REGISTER for spec in SPECS if spec.page_size == 16},
    }
)


class Arrays(NamedTuple):
    """The array arguments of api.paged_attention, in its order, and the optional ones by name."""

    args: tuple[jax.Array, ...]
    options: dict[str, jax.Array]


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
    floats = (*(jnp.asarray(x, dtype) for x in (q * batch.key_scale, k, v)), stored)
    integers = (np.int32(batch.layer), table, kv_lens, cu_q_lens, distribution)
    return Arrays(floats + tuple(jnp.asarray(x) for x in integers), _options(spec))


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
