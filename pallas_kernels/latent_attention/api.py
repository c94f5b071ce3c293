"""The contract of latent attention, and the choice of an implementation while tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.dispatch import dispatch
from pallas_kernels.latent_attention import reference
from pallas_kernels.latent_attention.xla import attention as xla
from pallas_kernels.paged_attention.sequences import Sequences, check_sequences

IMPLEMENTATIONS: Mapping[str, Callable[..., tuple[jax.Array, jax.Array]]] = MappingProxyType(
    {"reference": reference.latent_attention, "xla": xla.latent_attention}
)


class LatentAttentionResult(NamedTuple):
    """out [t, h, value_lanes] in q's dtype, and the pool with the step's rows in it."""

    out: jax.Array
    pool: jax.Array


def latent_attention(
    q: jax.Array,
    rows: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    scale: float,
    value_lanes: int,
    implementation: str | Sequence[str] = "xla",
) -> LatentAttentionResult:
    """Write the step's rows into their pages, then attend causally over each sequence's rows, which all heads share.

    q: [t, h, lanes], the step's queries in the space of the rows. rows: [t, lanes], a key whose first `value_lanes`
        lanes are the value.
    pool: all layers' pages, [layer, page, slot, width] with width >= lanes (PoolLayout.row_lanes()). Donate it and
        carry it through the loop over layers: it is updated in place.
    layer: integer scalar, may be traced.
    sequences: pages, lengths and new tokens of each sequence, as paged_attention takes them.
    scale: multiplies q.row.
    implementation: a name, or names in the order to try.

    Page 0 is the null page: tokens beyond the last sequence are written there and their rows of `out` are finite but
    without meaning. What unwritten slots and free pages hold (NaN too) changes nothing.
    Raises ValueError that names the wrong argument, ExceptionGroup when no implementation can serve the call.
    """
    _check(q, rows, pool, layer, value_lanes)
    check_sequences(sequences)
    order = (implementation,) if isinstance(implementation, str) else implementation
    out, pool = dispatch(
        "latent_attention",
        IMPLEMENTATIONS,
        order,
        q,
        rows,
        pool,
        layer,
        sequences,
        scale=scale,
        value_lanes=value_lanes,
    )
    return LatentAttentionResult(out, pool)


def _check(q: jax.Array, rows: jax.Array, pool: jax.Array, layer: jax.Array, value_lanes: int) -> None:
    """Raise ValueError, starting with the argument's name, unless shapes and dtypes fit together."""
    if q.ndim != 3 or not jnp.issubdtype(q.dtype, jnp.floating):
        raise ValueError(f"q: want floating [t, h, lanes], got {q.dtype} {q.shape}.")
    if rows.shape != (q.shape[0], q.shape[2]) or rows.dtype != q.dtype:
        raise ValueError(f"rows: want q's t, lanes and dtype, got {rows.dtype} {rows.shape}, q {q.dtype} {q.shape}.")
    if not 0 < value_lanes <= q.shape[2]:
        raise ValueError(f"value_lanes: want 1 to the {q.shape[2]} lanes of a row, got {value_lanes}.")
    if pool.ndim != 4 or pool.shape[3] < q.shape[2]:
        raise ValueError(f"pool: want [layer, page, slot, width] of at least {q.shape[2]} lanes, got {pool.shape}.")
    if jnp.shape(layer) != () or not jnp.issubdtype(jnp.result_type(layer), jnp.integer):
        raise ValueError(f"layer: want an integer scalar, got {jnp.result_type(layer)} {jnp.shape(layer)}.")
