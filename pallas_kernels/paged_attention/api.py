"""The contract of paged attention, and the choice of an implementation while tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.dispatch import dispatch
from pallas_kernels.paged_attention import reference
from pallas_kernels.paged_attention.layout import PoolLayout, device_layout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences, check_sequences
from pallas_kernels.paged_attention.xla import attention as xla


def _by_mosaic(*args: Any, target: str, **kwargs: Any) -> tuple[jax.Array, jax.Array]:
    """By the kernel for `target`, which is imported when it is used: its compiler takes longer to import than JAX."""
    if kwargs["score"].chunk is not None:
        raise NotImplementedError("the Pallas kernels have no chunks (score.chunk), only windows")
    kernel = import_module(f"pallas_kernels.paged_attention.{target}.attention")
    result: tuple[jax.Array, jax.Array] = kernel.paged_attention(*args, **kwargs)
    return result


IMPLEMENTATIONS: Mapping[str, Callable[..., tuple[jax.Array, jax.Array]]] = MappingProxyType(
    {
        "reference": reference.paged_attention,
        "xla": xla.paged_attention,
        "mosaic_gpu": partial(_by_mosaic, target="mosaic_gpu"),
        "mosaic_tpu": partial(_by_mosaic, target="mosaic_tpu"),
    }
)
ORDER = MappingProxyType(
    {
        "cpu": ("xla",),
        "gpu": ("xla",),
        "hopper": ("mosaic_gpu", "xla"),
        "tpu": ("mosaic_tpu", "xla"),
        "xla": ("xla",),
    }
)


def implementations(layout: PoolLayout) -> str:
    """The implementations that are tried with a layout, in order, and why there is no better one; for people."""
    reason = {"gpu": " (the Pallas kernels for NVIDIA are for Hopper, compute capability 9.0)"}
    return ", else ".join(ORDER[layout.name]) + reason.get(layout.name, "")


class PagedAttentionResult(NamedTuple):
    """out [t, hq, d] in q's dtype, and the pool with the step's keys and values in it."""

    out: jax.Array
    pool: jax.Array


def paged_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None = None,
    sinks: jax.Array | None = None,
    decodes_only: bool = False,
    layout: PoolLayout | None = None,
    implementation: str | Sequence[str] | None = None,
) -> PagedAttentionResult:
    """Write the step's keys and values into their pages, then attend causally over each sequence's pages.

    q: [t, hq, d], k and v: [t, hkv, d], the step's new tokens with positions applied; hq is a multiple of hkv, query
        head h reads key head h // (hq // hkv).
    pool: all layers' pages in `layout` (default: that of the first device). Donate it and carry it through the
        loop over layers: it is updated in place.
    layer: integer scalar, may be traced.
    sequences: pages, lengths and new tokens of each sequence.
    alibi_slopes: float32 [hq], adds slope * (k_pos - q_pos). sinks: float32 [hq], a logit in each softmax's sum
        without a value.
    decodes_only: every sequence has one new token, always; spares an implementation what is for chunks.
    implementation: a name, or names in the order to try; default: the layout's order.

    Page 0 is the null page: tokens beyond the last sequence are written there and their rows of `out` are finite but
    without meaning. What unwritten slots and free pages hold (NaN too) changes nothing.
    Raises ValueError that names the wrong argument, ExceptionGroup when no implementation can serve the call.
    """
    layout = device_layout(jax.devices()[0]) if layout is None else layout
    _check_tokens(q, k, v)
    _check_pool(pool, layer, k, layout)
    check_sequences(sequences)
    _check_per_head(q.shape[1], alibi_slopes=alibi_slopes, sinks=sinks)
    order = ORDER[layout.name] if implementation is None else implementation
    out, pool = dispatch(
        "paged_attention",
        IMPLEMENTATIONS,
        (order,) if isinstance(order, str) else order,
        q,
        k,
        v,
        pool,
        layer,
        sequences,
        score=score,
        alibi_slopes=alibi_slopes,
        sinks=sinks,
        decodes_only=decodes_only,
        layout=layout,
    )
    return PagedAttentionResult(out, pool)


def _check_tokens(q: jax.Array, k: jax.Array, v: jax.Array) -> None:
    """Raise ValueError, starting with the argument's name, unless shapes and dtypes fit together. So do the others."""
    if q.ndim != 3 or not jnp.issubdtype(q.dtype, jnp.floating):
        raise ValueError(f"q: want floating [t, hq, d], got {q.dtype} {q.shape}.")
    tokens, q_heads, head_dim = q.shape
    if k.ndim != 3 or (k.shape[0], k.shape[2]) != (tokens, head_dim) or k.shape[1] == 0 or q_heads % k.shape[1]:
        raise ValueError(f"k: want [t, hkv, d] with q's t and d and hkv a divisor of hq; got {k.shape}, q {q.shape}.")
    if v.shape != k.shape:
        raise ValueError(f"v: want k's shape {k.shape}, got {v.shape}.")
    if k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError(f"k: q, k and v must share a dtype, got {q.dtype}, {k.dtype}, {v.dtype}.")


def _check_pool(pool: jax.Array, layer: jax.Array, k: jax.Array, layout: PoolLayout) -> None:
    want = layout.shape(layers=0, pages=0, page_size=0, kv_heads=k.shape[1], head_dim=k.shape[2])
    if pool.ndim != len(want) or any(size not in (0, have) for size, have in zip(want, pool.shape, strict=True)):
        raise ValueError(f"pool: want axes {layout.axes} of {want} (0: any), got {pool.shape}.")
    if jnp.shape(layer) != () or not jnp.issubdtype(jnp.result_type(layer), jnp.integer):
        raise ValueError(f"layer: want an integer scalar, got {jnp.result_type(layer)} {jnp.shape(layer)}.")


def _check_per_head(q_heads: int, **per_head: jax.Array | None) -> None:
    for name, array in per_head.items():
        if array is not None and (array.shape != (q_heads,) or array.dtype != jnp.float32):
            raise ValueError(f"{name}: want float32 ({q_heads},), got {array.dtype} {array.shape}.")
