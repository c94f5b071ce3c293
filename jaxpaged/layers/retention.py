"""Retention: each head's state decays by a factor of its own and takes in the key and value of every token."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.layers.cache_op import Axes, CacheAccess, LayerPages
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.layers.linear import linear
from jaxpaged.layers.param import param, weight_of
from jaxpaged.models.architectures.retnet import Retention as RetentionSpec
from pallas_kernels.paged_attention.tokens import token_places

HEADS: Axes = ("shard", "head", None)


@dataclass(frozen=True, slots=True)
class Retain:
    """q, k, v [t, h, d] and decay [t, h], all float32 -> q times the state [h, d, d] after each token."""

    inputs: tuple[Axes, ...] = (HEADS, HEADS, HEADS, ("shard", "head"))
    output: Axes = HEADS

    def paged(self, pages: LayerPages, /, *arrays: Array) -> tuple[Array, Array]:
        tokens = len(arrays[0])
        size, sequences = pages.page_size, pages.sequences
        places = token_places(tokens, sequences, size)
        index = jnp.arange(tokens, dtype=jnp.int32)
        begins = index == sequences.cu_q_lens[places.sequence]
        before = sequences.page_table[places.sequence, jnp.maximum(places.position - 1, 0) // size]

        def one(state: Array, token: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            begins, position, before, q, k, v, decay = token
            stored = jnp.where(position > 0, pages.pool[pages.layer, before], jnp.float32(0))
            state = jnp.where(begins, stored, state)
            state = decay[:, None, None] * state + k[:, :, None] * v[:, None, :]
            return state, (state, (q[:, :, None] * state).sum(axis=1))

        first = jnp.zeros(pages.pool.shape[2:], jnp.float32)
        _, (states, out) = lax.scan(one, first, (begins, places.position, before, *arrays))
        ends = (index == sequences.cu_q_lens[places.sequence + 1] - 1) | (places.position % size == size - 1)
        return out, pages.pool.at[pages.layer, jnp.where(ends, places.page, 0)].set(states)

    def dense(
        self, positions: Int32[Array, "t"], segments: Int32[Array, "t"] | None, /, *arrays: Array
    ) -> Float32[Array, "t h d"]:
        """Without a loop: every earlier key and value, times the decays since."""
        q, k, v, decay = arrays
        distance = positions[:, None] - positions[None]
        seen = distance >= 0 if segments is None else (distance >= 0) & (segments[:, None] == segments[None])
        faded = jnp.where(seen[:, :, None], decay[:, None] ** jnp.maximum(distance, 0)[:, :, None], jnp.float32(0))
        return jnp.einsum("thd,shd,tsh,she->the", q, k, faded, v)


class Retention(nnx.Module):
    """out(retention of query, key and value), of the layer's input."""

    def __init__(self, part: RetentionSpec, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        self.part = part
        width = part.heads * part.head_dim
        self.query = param((width, hidden), ("head", "embed"), dtype, inputs=1)
        self.key = param((width, hidden), ("head", "embed"), dtype, inputs=1)
        self.value = param((width, hidden), ("head", "embed"), dtype, inputs=1)
        self.out = param((hidden, width), ("embed", "head"), dtype, inputs=1)

    def __call__[State](
        self, x: Float[Array, "t e"], tokens: TokenContext, attend: CacheAccess[State], state: State, place: Place
    ) -> tuple[Float[Array, "t e"], State]:
        shape = (-1, self.part.heads, self.part.head_dim)
        parts = (self.query, self.key, self.value)
        q, k, v = (linear(x, weight_of(w), out_dtype=jnp.float32).reshape(shape) for w in parts)
        decay = 1 - 2.0 ** -(2 + jnp.arange(self.part.heads, dtype=jnp.float32))
        spread = jnp.broadcast_to(decay, (len(x), self.part.heads))
        state, out = attend.apply(state, place, Retain(), q * jnp.float32(self.part.head_dim**-0.5), k, v, spread)
        return linear(out.reshape(len(x), -1).astype(x.dtype), weight_of(self.out)), state
