"""The only matmul of the layers. Weights keep Hugging Face's order, [out, in], and sums are float32."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int32

from jaxpaged.quant.product import StoredWeight, product


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
