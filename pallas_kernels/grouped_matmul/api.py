"""The contract of grouped products, and the choice of an implementation while tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from pallas_kernels.dispatch import dispatch
from pallas_kernels.grouped_matmul import reference, xla


def _by_mosaic_tpu(*args: Any, **kwargs: Any) -> jax.Array:
    """Imported when it is used: its compiler takes longer to import than JAX."""
    result: jax.Array = import_module("pallas_kernels.grouped_matmul.mosaic_tpu").grouped_matmul(*args, **kwargs)
    return result


IMPLEMENTATIONS: Mapping[str, Callable[..., jax.Array]] = MappingProxyType(
    {
        "reference": reference.grouped_matmul,
        "xla": xla.grouped_matmul,
        "mosaic_tpu": _by_mosaic_tpu,
    }
)
ORDER = MappingProxyType({"cpu": ("xla",), "gpu": ("xla",), "tpu": ("mosaic_tpu", "xla")})


def grouped_matmul(
    x: jax.Array,
    w: jax.Array,
    sizes: jax.Array,
    *,
    platform: str | None = None,
    implementation: str | Sequence[str] | None = None,
) -> jax.Array:
    """x [m, k], its rows sorted by group, times each row's own matrix of w [g, n, k]: float32 [m, n].

    sizes: int32 [g], the rows of each group. Rows behind the last group belong to none: they cost nothing, and come
    back without meaning. Only the matrices of groups with rows are read.
    platform: cpu, gpu or tpu; default: that of the first device. implementation: a name, or names in order.
    Raises ValueError that names the wrong argument.
    """
    if x.ndim != 2 or w.ndim != 3 or w.shape[2] != x.shape[1] or x.dtype != w.dtype:
        raise ValueError(f"w: want [g, n, k] of x's dtype and k; got {w.dtype} {w.shape}, x {x.dtype} {x.shape}.")
    if sizes.shape != (len(w),) or not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise ValueError(
            f"sizes: want integers [{len(w)}], one for each of w's groups; got {sizes.dtype} {sizes.shape}."
        )
    order = ORDER[platform or jax.default_backend()] if implementation is None else implementation
    names = (order,) if isinstance(order, str) else order
    return dispatch("grouped_matmul", IMPLEMENTATIONS, names, x, w, sizes)
