"""A mixture of experts: rows are sorted by expert once, go through two grouped products, and are added up by weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxpaged.layers.context import TokenContext
from jaxpaged.layers.expert_linear import expert_linear
from jaxpaged.layers.linear import narrow_linear
from jaxpaged.layers.mlp import ACTIVATIONS, GATED_BLOCK, GatedMLP, padded_size
from jaxpaged.layers.param import bias_of, param, parameter_of, weight_of
from jaxpaged.layers.router import Choice, Router
from jaxpaged.layers.weight_specs import weight_specs
from jaxpaged.models import experts as spec
from jaxpaged.models.forms import EachExpert, Interleaved, Padded
from jaxpaged.models.spec import Activation
from jaxpaged.quant.product import StoredWeight
from jaxpaged.quant.scheme import Parameter
from jaxpaged.sharding.mesh import DATA, MODEL
from jaxpaged.sharding.rules import spec_of


class Weights(NamedTuple):
    """The experts that a device has, or its share of each. Biases may be missing."""

    gate_up: Array | StoredWeight
    down: Array | StoredWeight
    gate_up_bias: Array | None
    down_bias: Array | None


@dataclass(frozen=True, slots=True)
class _Declared:
    gate_up: Parameter
    down: Parameter


class Experts(nnx.Module):
    """gate_up [expert, ffn / block, 2, block, embed] and down [expert, embed, ffn], stored as GatedMLP's.

    On several devices each has a share of every expert's ffn, or whole experts; the sum over devices is the result.
    """

    def __init__(self, part: spec.Experts, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        count = part.router.experts
        cuts = 1 if part.whole else tensor_parallel
        size = padded_size(part.size, cuts)
        block = math.gcd(size // cuts, GATED_BLOCK)
        shape = (size // block, 2, block)
        axes = ("expert", None, "part", None) if part.whole else (None, "ffn", "part", None)
        self.part, self.devices = part, tensor_parallel if part.whole else 1
        self.router = Router(part.router, hidden, dtype)
        gate_up = EachExpert(count, Interleaved(("gate", "up"), (part.size, hidden), (*shape, hidden)))
        self.expert_gate_up = param((count, *shape, hidden), (*axes, "embed"), dtype, inputs=1, form=gate_up)
        down = EachExpert(count, Padded((hidden, part.size), (hidden, size)))
        self.expert_down = param((count, hidden, size), (axes[0], "embed", axes[1]), dtype, inputs=1, form=down)
        bias = EachExpert(count, Interleaved(("gate", "up"), (part.size,), shape))
        self.expert_gate_up_bias = param((count, *shape), axes, dtype, form=bias) if part.bias else None
        each = EachExpert(count, Padded((hidden,), (hidden,)))
        self.expert_down_bias = param((count, hidden), (axes[0], "embed"), dtype, form=each) if part.bias else None
        self.declared = _Declared(parameter_of(self.expert_gate_up), parameter_of(self.expert_down))
        shared = part.shared
        self.shared = GatedMLP(shared.mlp, hidden, tensor_parallel, dtype) if shared else None
        gated = shared is not None and shared.gated
        self.shared_gate = param((1, hidden), (None, "embed"), dtype) if gated else None

    def __call__(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t e"]:
        out = self._routed(x, tokens)
        if self.shared is None:
            return out.astype(x.dtype)
        beside = self.shared(x, tokens).astype(jnp.float32)
        if self.shared_gate is not None:
            beside = beside * jax.nn.sigmoid(narrow_linear(x, self.shared_gate.get_value()))
        return (out + beside).astype(x.dtype)

    # The router runs on each device, for its own tokens: XLA would gather all of them to choose the best experts.
    def _routed(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float32[Array, "t e"]:
        count = self.part.router.experts // self.devices
        weights = Weights(
            weight_of(self.expert_gate_up),
            weight_of(self.expert_down),
            bias_of(self.expert_gate_up_bias),
            bias_of(self.expert_down_bias),
        )
        if tokens.mesh is None:
            return mix(self.part, x, self.router(x), weights, Share(0, count, tokens.is_token))

        def local(x: Array, router: Router, weights: Weights, is_token: Array | None) -> Array:
            device = lax.axis_index(MODEL)
            first = device * count if self.part.whole else 0
            with_bias = None if self.part.whole else device == 0
            mixed = mix(self.part, x, router(x), weights, Share(first, count, is_token, with_bias))
            return lax.psum(mixed, MODEL)

        rows = PartitionSpec(DATA)
        sharded = jax.shard_map(
            local,
            mesh=tokens.mesh,
            in_specs=(rows, PartitionSpec(), self._specs(weights), rows),
            out_specs=rows,
            check_vma=False,
        )
        mixed: Array = sharded(x, self.router, weights, tokens.is_token)
        return mixed

    def _specs(self, weights: Weights) -> Weights:
        """How each of the weights lies on the devices, in their places."""
        declared = self.declared
        biases = zip(weights[2:], (declared.gate_up.axes[:-1], declared.down.axes[:-1]), strict=True)
        specs: list[Any] = [
            weight_specs(declared.gate_up, weights.gate_up),
            weight_specs(declared.down, weights.down),
            *(None if bias is None else spec_of(axes) for bias, axes in biases),
        ]
        return Weights(*specs)


class Share(NamedTuple):
    """A device has the `held` experts from `first` on; it computes the rows that are tokens (None: all).

    with_bias: whether it adds the biases of the second products (None: yes): where devices have shares of each expert,
    one of them does.
    """

    first: Int32[Array, ""] | int
    held: int
    is_token: Bool[Array, "t"] | None = None
    with_bias: Bool[Array, ""] | None = None


def mix(
    part: spec.Experts, x: Float[Array, "t e"], choice: Choice, weights: Weights, share: Share
) -> Float32[Array, "t e"]:
    """What a device's experts add to each row."""
    top_k = choice.experts.shape[1]
    expert = choice.experts - share.first
    mine = (expert >= 0) & (expert < share.held)
    if share.is_token is not None:
        mine &= share.is_token[:, None]
    expert = jnp.where(mine, expert, share.held).reshape(-1)
    order = jnp.argsort(expert, stable=True)
    by_row = jnp.where(mine, choice.weights, 0)
    rows = x[order // top_k]
    if part.scale_inputs:
        rows = (rows.astype(jnp.float32) * by_row.reshape(-1)[order][:, None]).astype(x.dtype)
        by_row = mine.astype(jnp.float32)
    made = _compute(part, rows, weights, expert[order], share)
    made = made[jnp.argsort(order)].reshape(*mine.shape, -1)
    shares = [jnp.where(mine[:, i, None], made[:, i] * by_row[:, i, None], 0) for i in range(top_k)]
    return reduce(jnp.add, shares)


def _compute(
    part: spec.Experts, rows: Float[Array, "m e"], weights: Weights, expert: Int32[Array, "m"], share: Share
) -> Float32[Array, "m e"]:
    """Each row by its expert; rows are in the order of experts, those of none come last and mean nothing."""
    sizes = jnp.sum(expert[:, None] == jnp.arange(share.held)[None], axis=0, dtype=jnp.int32)
    own = jnp.minimum(expert, share.held - 1)
    both = expert_linear(rows, weights.gate_up, sizes)
    if weights.gate_up_bias is not None:
        both = both + weights.gate_up_bias[own].astype(jnp.float32)
    gate, up = both[:, :, 0], both[:, :, 1]
    inner = _activated(part.activation, gate, up).astype(rows.dtype)
    inner = lax.platform_dependent(inner, cpu=lax.optimization_barrier, default=lambda each: each)
    out = expert_linear(inner.reshape(len(rows), -1), weights.down, sizes)
    if weights.down_bias is None:
        return out
    bias = weights.down_bias[own].astype(jnp.float32)
    return out + (bias if share.with_bias is None else jnp.where(share.with_bias, bias, 0))


def _activated(activation: Activation | spec.ClampedSwiGLU, gate: Array, up: Array) -> Array:
    if not isinstance(activation, spec.ClampedSwiGLU):
        return ACTIVATIONS[activation](gate) * up
    gate = jnp.minimum(gate, activation.limit)
    up = jnp.clip(up, -activation.limit, activation.limit)
    return gate * jax.nn.sigmoid(gate * activation.alpha) * (up + 1)
