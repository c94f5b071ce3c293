"""NaN and infinity are found before a weight is served."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxpaged.errors import WeightError

NAMES_SHOWN = 8


@partial(jax.jit, static_argnames="dtype")
def all_finite(arrays: Sequence[Array], dtype: jnp.dtype | None = None) -> Bool[Array, "n"]:
    """For each array whether all of it is finite, also once it is cast to `dtype`; true for integers."""
    return jnp.stack([_is_finite(array, dtype) for array in arrays])


def _is_finite(array: Array, dtype: jnp.dtype | None) -> Bool[Array, ""]:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return jnp.asarray(True)
    cast = array if dtype is None else array.astype(dtype)
    # 0 * x summed is NaN for NaN and infinity. XLA's maximum loses a NaN in long arrays on a CPU, and isfinite().all()
    # takes three times as long.
    nothing = jnp.sum(cast.astype(jnp.float32) * jnp.float32(0.0))
    return jnp.equal(nothing, 0.0)


def refuse_non_finite(where: Path | str, checks: Sequence[tuple[Sequence[str], Bool[Array, "_"]]]) -> None:
    """Raise WeightError naming the tensors whose flag in all_finite()'s result is false."""
    flags = jax.device_get([finite for _, finite in checks])
    pairs = zip(checks, flags, strict=True)
    bad = sorted({name for (names, _), each in pairs for name, ok in zip(names, each, strict=True) if not ok})
    if bad:
        more = f" and {len(bad) - NAMES_SHOWN} more" if len(bad) > NAMES_SHOWN else ""
        raise WeightError(f"{where}: NaN or infinity in {', '.join(bad[:NAMES_SHOWN])}{more}.")
