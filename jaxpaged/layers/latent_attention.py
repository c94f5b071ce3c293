"""Latent attention: absorbed over the pages, so that a step reads one row per token; per head without a cache.

q.(Wk c) = (Wk^T q).c, so a query is brought to the latents' space instead of every latent to the heads' key spaces;
and the sum of Wv c is Wv times the sum of c.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int32

from jaxpaged.layers.attention import temperatures
from jaxpaged.layers.cache_op import Axes, CacheAccess, LayerPages
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.layers.linear import linear
from jaxpaged.layers.norms import Norm, normed
from jaxpaged.layers.param import bias_of, param, weight_of
from jaxpaged.layers.rope import rotate
from jaxpaged.models.forms import HeadRows, Padded
from jaxpaged.models.latent import LatentAttention as LatentPart
from pallas_kernels.latent_attention import latent_attention


class LatentAttention(nnx.Module):
    """The projections, norms and positions of one latent attention part.

    q [head, key lanes, q_rank or embed]; kv_a [kv_rank + rope_dim, embed]; kv_b [head, nope_dim + value_dim, kv_rank]
    makes a head's key and value of a latent; out [embed, head * value_dim]. Heads are filled up with zero heads to a
    multiple of the tensor-parallel devices: their columns of `out` are zero.
    """

    def __init__(self, part: LatentPart, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        self.part = part
        heads = part.heads + -part.heads % tensor_parallel
        source, axis = (hidden, "embed") if part.q_rank is None else (part.q_rank, None)
        self.q_a = self._down(part.q_rank, hidden, dtype) if part.q_rank else None
        self.q_a_bias = param((part.q_rank,), (None,), dtype) if part.q_rank and part.bias else None
        self.q_norm = Norm(part.q_norm, source, "head_dim", dtype) if part.q_rank and part.q_norm else None
        q = HeadRows(part.heads, heads, part.key_dim, source)
        self.q = param(q.shape, ("head", None, axis), dtype, inputs=1, form=q)
        self.kv_a = self._down(part.row, hidden, dtype)
        self.kv_a_bias = param((part.row,), (None,), dtype) if part.bias else None
        self.kv_norm = Norm(part.kv_norm, part.kv_rank, "head_dim", dtype) if part.kv_norm else None
        # No `inputs`: half of it is used transposed, which no quantized product does.
        kv_b = HeadRows(part.heads, heads, part.nope_dim + part.value_dim, part.kv_rank)
        self.kv_b = param(kv_b.shape, ("head", None, None), dtype, form=kv_b)
        out = Padded((hidden, part.heads * part.value_dim), (hidden, heads * part.value_dim))
        self.out = param(out.shape, ("embed", "head"), dtype, inputs=1, form=out)
        self.out_bias = param((hidden,), ("embed",), dtype) if part.bias else None

    @staticmethod
    def _down(rank: int, hidden: int, dtype: DTypeLike) -> nnx.Param:
        return param((rank, hidden), (None, "embed"), dtype, inputs=1)

    def __call__[State](
        self, x: Float[Array, "t e"], tokens: TokenContext, attend: CacheAccess[State], state: State, place: Place
    ) -> tuple[Float[Array, "t e"], State]:
        """What the layer adds to the residual stream, before scales and norms, and the state after the step."""
        q, rows = self.queries(x, tokens), self.rows(x, tokens)
        state, values = attend.apply(state, place, LatentOp(self.part), q, rows, self.kv_b.get_value())
        out = linear(values.reshape(len(x), -1), weight_of(self.out), tokens.adapters, bias=bias_of(self.out_bias))
        return out, state

    def queries(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t h k"]:
        """Queries with their last lanes rotated, at their temperature."""
        if self.q_a is not None:
            latent = linear(x, weight_of(self.q_a), tokens.adapters, bias=bias_of(self.q_a_bias))
            x = normed(self.q_norm, latent)
        q = linear(x, weight_of(self.q), tokens.adapters)
        q = self._positioned(q, self.part.nope_dim, tokens)
        if self.part.temperature is None:
            return q
        return (q.astype(jnp.float32) * temperatures(self.part.temperature, tokens.positions)).astype(q.dtype)

    def rows(self, x: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t r"]:
        """What is kept: the normed latents and the rotated lanes beside them."""
        rank = self.part.kv_rank
        both = linear(x, weight_of(self.kv_a), tokens.adapters, bias=bias_of(self.kv_a_bias))
        rows = jnp.concatenate([normed(self.kv_norm, both[:, :rank]), both[:, rank:]], axis=-1)
        return self._positioned(rows[:, None], rank, tokens)[:, 0]

    def _positioned(self, x: Float[Array, "t h d"], start: int, tokens: TokenContext) -> Float[Array, "t h d"]:
        """The lanes from `start` on rotated."""
        for rope in self.part.ropes:
            turned = rotate(x[..., start:], tokens.rotations[rope], rope)
            x = jnp.concatenate([x[..., :start], turned], axis=-1)
        return x


@dataclass(frozen=True, slots=True)
class LatentOp:
    """q [t, h, key lanes], rows [t, kv_rank + rope_dim], kv_b as the module has it -> values [t, h, value_dim]."""

    part: LatentPart

    @property
    def inputs(self) -> tuple[Axes, ...]:
        return ("shard", "head", None), ("shard", None), ("head", None, None)

    @property
    def output(self) -> Axes:
        return "shard", "head", None

    def paged(self, pages: LayerPages, /, *arrays: Array) -> tuple[Array, Array]:
        """Absorbed, however long a chunk is: another form would round a token differently in another chunk."""
        q, rows, kv_b = arrays
        part, nope = self.part, self.part.nope_dim
        absorbed = _times_transposed(q[..., :nope], kv_b[:, :nope]).astype(q.dtype)
        queries = jnp.concatenate([absorbed, q[..., nope:]], axis=-1)
        latents, pool = latent_attention(
            queries,
            rows,
            pages.pool,
            pages.layer,
            pages.sequences,
            scale=part.scale,
            value_lanes=part.kv_rank,
        )
        return _times(latents, kv_b[:, nope:]).astype(q.dtype), pool

    def dense(self, positions: Int32[Array, "t"], segments: Int32[Array, "t"] | None, /, *arrays: Array) -> Array:
        """Every latent brought to every head."""
        q, rows, kv_b = arrays
        part = self.part
        heads = jnp.einsum("tr,hdr->thd", rows[:, : part.kv_rank], kv_b, precision="highest")
        shared = jnp.broadcast_to(rows[:, None, part.kv_rank :], (*heads.shape[:2], part.rope_dim))
        keys = jnp.concatenate([heads[..., : part.nope_dim], shared], axis=-1)
        visible = positions[:, None] >= positions[None]
        if segments is not None:
            visible &= segments[:, None] == segments[None]
        s = jnp.einsum("thd,khd->htk", q, keys, precision="highest", preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(jnp.where(visible, s * part.scale, -jnp.inf), axis=-1).astype(q.dtype)
        return jnp.einsum("htk,khv->thv", weights, heads[..., part.nope_dim :], precision="highest")


def _times(x: Float[Array, "t h i"], w: Float[Array, "h o i"]) -> Float[Array, "t h o"]:
    """Each head's rows times its matrix, in float32."""
    precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    y = lax.dot_general(
        x.swapaxes(0, 1),
        w,
        (((2,), (2,)), ((0,), (0,))),
        precision=precision,
        preferred_element_type=jnp.float32,
    )
    return y.swapaxes(0, 1)


def _times_transposed(x: Float[Array, "t h o"], w: Float[Array, "h o i"]) -> Float[Array, "t h i"]:
    """The same with the transposed matrices.

    They are laid out anew in float32: a CPU adds up a row in an order that depends on the number of rows where the
    contracted axis is not the last one.
    """
    transposed = w.swapaxes(1, 2)
    return _times(x, transposed if x.dtype == jnp.bfloat16 else lax.optimization_barrier(transposed))
