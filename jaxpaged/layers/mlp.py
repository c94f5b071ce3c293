"""Feed-forward parts: plain and gated. The inner size is padded with zeros so that every device has an equal share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from jaxpaged.layers.context import TokenContext
from jaxpaged.layers.linear import linear
from jaxpaged.layers.param import bias_of, param, weight_of
from jaxpaged.models import spec
from jaxpaged.models.forms import Interleaved, Padded

GATED_BLOCK = 128  # rows of gate, then as many of up: the width of a TPU register, and long vectors elsewhere
ACTIVATIONS: Mapping[spec.Activation, Callable[[Array], Array]] = MappingProxyType(
    {
        "silu": jax.nn.silu,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "relu": jax.nn.relu,
        "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    }
)


def padded_size(size: int, tensor_parallel: int) -> int:
    """The inner size as it is stored. The padding adds nothing: activations map 0 to 0, and down's columns are zero."""
    return -(-size // tensor_parallel) * tensor_parallel


def _down(size: int, stored: int, hidden: int, dtype: DTypeLike) -> nnx.Param:
    """[embed, ffn], zeros behind the `size` columns of the checkpoint."""
    form = Padded((hidden, size), (hidden, stored))
    return param(form.shape, ("embed", "ffn"), dtype, inputs=1, form=form)


class Xielu(nnx.Module):
    """A quadratic above 0 and an exponential below, both with a learned slope (arXiv 2411.13010)."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.alpha_p, self.alpha_n = param((1,), (None,), dtype), param((1,), (None,), dtype)
        self.beta, self.eps = param((), (), dtype), param((), (), dtype)

    def __call__(self, x: Float32[Array, "t f"]) -> Float32[Array, "t f"]:
        alpha_p, alpha_n, beta, eps = (
            each.get_value().astype(jnp.float32).reshape(())
            for each in (self.alpha_p, self.alpha_n, self.beta, self.eps)
        )
        above = jax.nn.softplus(alpha_p) * jnp.square(x)
        below = (beta + jax.nn.softplus(alpha_n)) * (jnp.expm1(jnp.minimum(x, eps)) - x)
        return jnp.where(x > 0, above, below) + beta * x


class MLP(nnx.Module):
    """down(act(up(x))). up [ffn, embed], down [embed, ffn]."""

    def __init__(self, part: spec.MLP, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        size = padded_size(part.size, tensor_parallel)
        self.activation = part.activation
        self.xielu = Xielu(dtype) if part.activation == "xielu" else None
        up = Padded((part.size, hidden), (size, hidden))
        self.up = param(up.shape, ("ffn", "embed"), dtype, inputs=1, form=up)
        self.down = _down(part.size, size, hidden, dtype)
        self.up_bias = param((size,), ("ffn",), dtype, form=Padded((part.size,), (size,))) if part.bias else None
        self.down_bias = param((hidden,), ("embed",), dtype) if part.bias else None

    def __call__(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t e"]:
        up = linear(x, weight_of(self.up), tokens.adapters, bias=bias_of(self.up_bias))
        activation = ACTIVATIONS[self.activation] if self.xielu is None else self.xielu
        inner = activation(up.astype(jnp.float32)).astype(x.dtype)
        return linear(inner, weight_of(self.down), tokens.adapters, bias=bias_of(self.down_bias))


class GatedMLP(nnx.Module):
    """down(act(gate(x)) * up(x)). gate_up [ffn / block, 2, block, embed] holds both, so that one product reads x once.

    Blocks, because each device must hold both halves of its share, and a TPU pads a second-to-last axis of 2.
    """

    def __init__(self, part: spec.GatedMLP, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        size = padded_size(part.size, tensor_parallel)
        self.activation = part.activation
        block = math.gcd(size // tensor_parallel, GATED_BLOCK)
        shape, axes = (size // block, 2, block), ("ffn", "part", None)
        form = Interleaved(("gate", "up"), (part.size, hidden), (*shape, hidden))
        self.gate_up = param(form.shape, (*axes, "embed"), dtype, inputs=1, form=form)
        self.down = _down(part.size, size, hidden, dtype)
        bias = Interleaved(form.names, (part.size,), shape)
        self.gate_up_bias = param(shape, axes, dtype, form=bias) if part.bias else None
        self.down_bias = param((hidden,), ("embed",), dtype) if part.bias else None

    def __call__(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t e"]:
        both = linear(
            x, weight_of(self.gate_up), tokens.adapters, bias=bias_of(self.gate_up_bias), out_dtype=jnp.float32
        )
        gated = (ACTIVATIONS[self.activation](both[:, :, 0]) * both[:, :, 1]).astype(x.dtype)
        # XLA:CPU does not vectorise the activation when it is fused with the reshape: six times as slow.
        gated = lax.platform_dependent(gated, cpu=lax.optimization_barrier, default=lambda rows: rows)
        return linear(gated.reshape(len(x), -1), weight_of(self.down), tokens.adapters, bias=bias_of(self.down_bias))
