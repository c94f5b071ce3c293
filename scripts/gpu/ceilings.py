"""What this card does at best: bytes a second of a copy (read and written), operations a second of a product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from gpu.timing import measure


@dataclass(frozen=True)
class Ceilings:
    """Bytes per second, floating-point operations per second."""

    copy: float
    matmul: float


def measure_ceilings(*, quick: bool) -> Ceilings:
    """A copy of 4 GiB and products of 8,192 x 8,192 random numbers; small ones with `quick`."""
    return Ceilings(_copy(1 << (24 if quick else 31)), _matmul(512 if quick else 8192))


def _copy(elements: int) -> float:
    x = jax.random.normal(jax.random.key(0), (elements,), jnp.bfloat16)
    time = measure(jax.jit(jnp.copy), x)
    return 2 * x.nbytes / time.median


def _matmul(size: int) -> float:
    """Each product is scaled to have its factors' deviation, so that random numbers stay random numbers."""
    weights, x = jax.random.normal(jax.random.key(1), (2, size, size), jnp.bfloat16)
    weights = weights / jnp.asarray(size**0.5, weights.dtype)
    time = measure(jax.jit(partial(jnp.matmul, weights)), x)
    return 2 * size**3 / time.median
