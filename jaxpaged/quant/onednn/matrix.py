"""One weight as oneDNN reads it, and its product.

XLA:CPU's own dot lays a weight out anew at every call. Its emitter sends a custom call of the name below to the oneDNN
that jaxlib holds, and with `weights_prepacked` the weight may be an argument that lies in oneDNN's order already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32, Shaped

TARGET = "__onednn$matmul"
CONFIG = json.dumps({"onednn_matmul_config": {"optimization_config": {"weights_prepacked": True}}})
OUTPUT_MULTIPLE = 64
FEWEST_ROWS = 2  # one row is computed by other code, in another order of additions and of the weight
BLOCKS = (64, 48, 32, 16)  # outputs that lie together: oneDNN chooses by shape and threads, so it is found by trying


@dataclass(frozen=True, slots=True)
class _Kind:
    """How oneDNN takes a dtype: inputs of one output that lie together, what their number is padded to, the sum."""

    group: int
    multiple: int
    accumulator: type[np.generic]


KINDS = MappingProxyType(
    {"float32": _Kind(1, 16, np.float32), "bfloat16": _Kind(2, 32, np.float32), "int8": _Kind(4, 64, np.int32)}
)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight [outputs, inputs] of a dtype in KINDS, padded with zeros to what oneDNN takes.

    Stored flat, in the order [outputs / block, inputs / group, block, group]. After int8 values come four bytes for
    each output: -128 times the sum of its weights as an int32, because oneDNN shifts the rows to unsigned values.
    """

    outputs: int
    inputs: int
    dtype: str
    block: int = BLOCKS[0]

    @property
    def padded(self) -> tuple[int, int]:
        return _up(self.outputs, OUTPUT_MULTIPLE), _up(self.inputs, KINDS[self.dtype].multiple)

    @property
    def size(self) -> int:
        """Elements, the sums after int8 values included."""
        outputs, inputs = self.padded
        return outputs * inputs + (4 * outputs if self.dtype == "int8" else 0)

    def pack(self, weight: Shaped[Array, "*outputs_inputs"]) -> Shaped[Array, "_"]:
        outputs, inputs = self.padded
        group = KINDS[self.dtype].group
        weight = weight.reshape(self.outputs, self.inputs)
        weight = jnp.pad(weight, ((0, outputs - self.outputs), (0, inputs - self.inputs)))
        blocks = weight.reshape(outputs // self.block, self.block, inputs // group, group)
        packed = blocks.transpose(0, 2, 1, 3).reshape(-1)
        return jnp.concatenate([packed, _shifts(weight)]) if self.dtype == "int8" else packed

    def dot(self, x: Shaped[Array, "t i"], packed: Shaped[Array, "_"]) -> Shaped[Array, "t o"]:
        """x [t, inputs] in the weight's dtype times the weight: float32, int32 for int8."""
        outputs, inputs = self.padded
        wanted, rows = len(x), max(len(x), FEWEST_ROWS)
        x = jnp.pad(x, ((0, rows - wanted), (0, inputs - self.inputs)))
        call: Callable[[Array, Array], Array] = jax.ffi.ffi_call(
            TARGET,
            jax.ShapeDtypeStruct((rows, outputs), KINDS[self.dtype].accumulator),
            custom_call_api_version=2,
            legacy_backend_config=CONFIG,
        )
        return call(x, packed)[:wanted, : self.outputs]

    def rows(self, packed: Float[Array, "_"], outputs: Int32[Array, "t"]) -> Float[Array, "t i"]:
        """The weights of some outputs; a number out of range counts as the nearest one."""
        padded_outputs, padded_inputs = self.padded
        group = KINDS[self.dtype].group
        blocks = packed.reshape(padded_outputs // self.block, padded_inputs // group, self.block, group)
        chosen = jnp.clip(outputs, 0, self.outputs - 1)
        return blocks[chosen // self.block, :, chosen % self.block].reshape(len(outputs), -1)[:, : self.inputs]


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _shifts(weight: Array) -> Array:
    sums = jnp.sum(weight, axis=1, dtype=jnp.int32) * jnp.int32(-128)
    return lax.bitcast_convert_type(sums, jnp.int8).reshape(-1)
