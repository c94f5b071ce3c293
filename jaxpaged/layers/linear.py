"""The only matmul of the layers. Weights keep Hugging Face's order, [out, in], and sums are float32."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.quant.product import StoredWeight, product

CPU_COLUMNS = 8  # XLA:CPU adds up a product with fewer columns in an order that depends on the number of rows


def linear(
    x: Float[Array, "t *inputs"],
    w: Float[Array, "*outputs_inputs"] | StoredWeight,
    adapters: Int32[Array, "t"] | None = None,
    *,
    bias: Float[Array, "*outputs"] | None = None,
    out_dtype: DTypeLike | None = None,
) -> Float[Array, "t *outputs"]:
    """Contract all of x's axes but the first with the last axes of w [*outputs, *inputs]; result in x's dtype.

    The bias is added in float32. `adapters`: of each row; plain and quantized weights serve all rows alike.
    """
    y = product(x, w)
    if bias is not None:
        y = y + bias.astype(jnp.float32)[None]
    return y.astype(x.dtype if out_dtype is None else out_dtype)


def narrow_linear(x: Float[Array, "t e"], w: Float[Array, "n e"]) -> Float32[Array, "t n"]:
    """x times w for few outputs, in float32 operands; a row's result does not depend on the other rows."""
    outputs = len(w)
    padded = jnp.pad(w.astype(jnp.float32), [(0, max(0, CPU_COLUMNS - outputs)), (0, 0)])
    return product(x.astype(jnp.float32), padded)[:, :outputs]
