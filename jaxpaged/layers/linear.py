"""The only matmul of the layers. Weights keep Hugging Face's order, [out, in], and sums are float32."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int32

from jaxpaged.layers.choice import Choice
from jaxpaged.quant.qarray import QArray, quantize_rows


def linear(
    x: Float[Array, "t *inputs"],
    w: Float[Array, "*outputs_inputs"] | QArray | Choice,
    rows: Int32[Array, "t"] | None = None,
    *,
    bias: Float[Array, "*outputs"] | None = None,
    out_dtype: DTypeLike | None = None,
) -> Float[Array, "t *outputs"]:
    """Contract all of x's axes but the first with the last axes of w [*outputs, *inputs]; result in x's dtype.

    The bias is added in float32. `rows`: the adapter of each row; plain and quantized weights serve all rows alike.
    """
    y = _product(x, w)
    if bias is not None:
        y = y + bias.astype(jnp.float32)[None]
    return y.astype(x.dtype if out_dtype is None else out_dtype)


def _product(x: Array, w: Array | QArray | Choice) -> Array:
    """In float32, without bias."""
    match w:
        case Choice(options, index):
            return lax.switch(index, [partial(_product, w=option) for option in options], x)
        case QArray():
            return _quantized(x, w)
        case _:
            return _dot(x, w, jnp.float32)


def _dot(x: Array, w: Array, accumulator: DTypeLike) -> Array:
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


def _quantized(x: Array, w: QArray) -> Array:
    """int8 x int8 -> int32, then the two scales: one per row of x, one per output of w."""
    values, scale = quantize_rows(x)
    products = _dot(values, w.values, jnp.int32).astype(jnp.float32)
    return products * scale.reshape(-1, *[1] * w.scale.ndim) * w.scale[None]
