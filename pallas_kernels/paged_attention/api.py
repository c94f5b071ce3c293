"""The contract of paged attention, and the choice of an implementation while tracing."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.dispatch import dispatch
from pallas_kernels.paged_attention import reference
from pallas_kernels.paged_attention.layout import PoolLayout, device_layout
from pallas_kernels.paged_attention.mosaic_gpu import attention as mosaic_gpu
from pallas_kernels.paged_attention.mosaic_tpu import attention as mosaic_tpu
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.xla import attention as xla

IMPLEMENTATIONS = MappingProxyType(
    {
        "reference": reference.paged_attention,
        "xla": xla.paged_attention,
        "mosaic_gpu": mosaic_gpu.paged_attention,
        "mosaic_tpu": mosaic_tpu.paged_attention,
    }
)
ORDER = MappingProxyType(
    {"cpu": ("xla",), "gpu": ("xla",), "hopper": ("mosaic_gpu", "xla"), "tpu": ("mosaic_tpu", "xla")}
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
    page_table: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    distribution: jax.Array,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None = None,
    sinks: jax.Array | None = None,
    layout: PoolLayout | None = None,
    implementation: str | Sequence[str] | None = None,
) -> PagedAttentionResult:
    """Write the step's keys and values into their pages, then attend causally over each sequence's pages.

    q: [t, hq, d], k and v: [t, hkv, d], the step's new tokens with positions applied; hq is a multiple of hkv, query
        head h reads key head h // (hq // hkv).
    pool: all layers' pages in `layout` (default: that of the first device). Donate it and carry it through the
        loop over layers: it is updated in place.
    layer: integer scalar, may be traced.
    page_table: int32 [s, p], page ids of sequence s in order; entries that no visible key lies on may be anything in
        range. kv_lens: int32 [s], tokens of the sequence, the new ones included; 0 is padding.
    cu_q_lens: int32 [s + 1], new tokens of sequence s are cu_q_lens[s]:cu_q_lens[s + 1]; the i-th has position
        kv_lens[s] - q_len + i. distribution: int32 [3]: sequences with one new token, which come first; up to here
        chunks; sequences in all.
    alibi_slopes: float32 [hq], adds slope * (k_pos - q_pos). sinks: float32 [hq], a logit in each softmax's sum
        without a value.
    implementation: a name, or names in the order to try; default: the layout's order.

    Page 0 is the null page: tokens beyond the last sequence are written there and their rows of `out` are finite but
    without meaning. What unwritten slots and free pages hold (NaN too) changes nothing.
    Raises ValueError that names the wrong argument, ExceptionGroup when no implementation can serve the call.
    """
    layout = device_layout(jax.devices()[0]) if layout is None else layout
    _check(q, k, v, pool, layer, page_table, kv_lens, cu_q_lens, distribution, alibi_slopes, sinks, layout)
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
        page_table,
        kv_lens,
        cu_q_lens,
        distribution,
        score=score,
        alibi_slopes=alibi_slopes,
        sinks=sinks,
        layout=layout,
    )
    return PagedAttentionResult(out, pool)


def _check(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    page_table: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    distribution: jax.Array,
    alibi_slopes: jax.Array | None,
    sinks: jax.Array | None,
    layout: PoolLayout,
) -> None:
    """Raise ValueError, starting with the argument's name, unless all static shapes and dtypes fit together."""
    if q.ndim != 3 or not jnp.issubdtype(q.dtype, jnp.floating):
        raise ValueError(f"q: want floating [t, hq, d], got {q.dtype} {q.shape}.")
    tokens, q_heads, head_dim = q.shape
    if k.ndim != 3 or (k.shape[0], k.shape[2]) != (tokens, head_dim) or k.shape[1] == 0 or q_heads % k.shape[1]:
        raise ValueError(f"k: want [t, hkv, d] with q's t and d and hkv a divisor of hq; got {k.shape}, q {q.shape}.")
    if v.shape != k.shape:
        raise ValueError(f"v: want k's shape {k.shape}, got {v.shape}.")
    if k.dtype != q.dtype or v.dtype != q.dtype:
        raise ValueError(f"k: q, k and v must share a dtype, got {q.dtype}, {k.dtype}, {v.dtype}.")
    want = layout.shape(layers=0, pages=0, page_size=0, kv_heads=k.shape[1], head_dim=head_dim)
    if pool.ndim != len(want) or any(size not in (0, have) for size, have in zip(want, pool.shape, strict=True)):
        raise ValueError(f"pool: want axes {layout.axes} of {want} (0: any), got {pool.shape}.")
    if jnp.shape(layer) != () or not jnp.issubdtype(jnp.result_type(layer), jnp.integer):
        raise ValueError(f"layer: want an integer scalar, got {jnp.result_type(layer)} {jnp.shape(layer)}.")
    sequences = kv_lens.shape[0] if kv_lens.ndim == 1 else -1
    integers = {
        "kv_lens": (kv_lens, (sequences,)),
        "page_table": (page_table, (sequences, page_table.shape[-1])),
        "cu_q_lens": (cu_q_lens, (sequences + 1,)),
        "distribution": (distribution, (3,)),
    }
    for name, (array, shape) in integers.items():
        if array.shape != shape or array.dtype != jnp.int32:
            raise ValueError(f"{name}: want int32 {shape}, got {array.dtype} {array.shape}.")
    for name, per_head in {"alibi_slopes": alibi_slopes, "sinks": sinks}.items():
        if per_head is not None and (per_head.shape != (q_heads,) or per_head.dtype != jnp.float32):
            raise ValueError(f"{name}: want float32 ({q_heads},), got {per_head.dtype} {per_head.shape}.")
