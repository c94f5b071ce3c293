"""Products of rows with stored weights, whatever their format. Weights are in the order [*outputs, *inputs]."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int32


@runtime_checkable
class StoredWeight(Protocol):
    """A weight that is no plain array."""

    def product(self, x: Float[Array, "t ..."]) -> Float32[Array, "t ..."]: ...


@runtime_checkable
class StoredTable(StoredWeight, Protocol):
    """One [outputs, inputs] whose rows can be looked up too: a table that the embedding shares with the head."""

    def rows(self, outputs: Int32[Array, "t"]) -> Float[Array, "t i"]: ...


def product(x: Float[Array, "t ..."], w: Array | StoredWeight) -> Float32[Array, "t ..."]:
    """x [t, *inputs] times w, in float32: [t, *outputs]."""
    return dot(x, w, jnp.float32) if isinstance(w, (jax.Array, np.ndarray)) else w.product(x)


def rows_of(w: Array | StoredTable, outputs: Int32[Array, "t"]) -> Float[Array, "t i"]:
    """Rows of a table [outputs, inputs]; a number out of range counts as the nearest one."""
    return w.at[outputs].get(mode="clip") if isinstance(w, (jax.Array, np.ndarray)) else w.rows(outputs)


def dot(x: Array, w: Array, accumulator: DTypeLike) -> Array:
    """As one product of matrices: the first axis of w is the one that is sharded, so its outputs can be merged.

    XLA:CPU would copy a weight with more axes into another order at each call, and then add up rows in an order that
    depends on their number.
    """
    outputs = w.shape[: w.ndim - x.ndim + 1]
    x = x.reshape(len(x), -1)
    # Accelerators would otherwise round float32 operands to bfloat16 or TF32.
    precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    y = lax.dot_general(
        x,
        w.reshape(-1, x.shape[1]),
        (((1,), (1,)), ((), ())),
        precision=precision,
        preferred_element_type=accumulator,
    )
    return y.reshape(len(x), *outputs)
