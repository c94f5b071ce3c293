"""Self-attention around an `attend` that is an argument: paged in the engine, dense here for training and scoring."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxpaged.layers.cache_op import CacheOp
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.layers.head_norms import qk_norms
from jaxpaged.layers.linear import linear
from jaxpaged.layers.norms import Norm, normed
from jaxpaged.layers.param import bias_of, param, weight_of
from jaxpaged.layers.rope import rotate
from jaxpaged.models import spec
from jaxpaged.models.forms import FusedHeads, PerHead, SpreadHeads
from jaxpaged.models.heads import HeadLayout, plan_heads
from pallas_kernels.paged_attention.api import ScoreMod


@dataclass(frozen=True, slots=True)
class LayerRef:
    """What attention must know about the layer that calls it.

    group, score: static. index: scalar, the layer's place within its cache group, may be traced.
    alibi_slopes, sinks: one per query head, as the heads are stored.
    """

    group: int
    index: Int32[Array, ""]
    score: ScoreMod
    alibi_slopes: Float32[Array, "hq"] | None = None
    sinks: Float32[Array, "hq"] | None = None


@runtime_checkable
class Attend[State](Protocol):
    """Attention over the step's tokens and whatever `state` remembers of earlier ones; returns the new state."""

    def __call__(
        self,
        state: State,
        q: Float[Array, "t hq d"],
        k: Float[Array, "t hkv d"],
        v: Float[Array, "t hkv d"],
        layer: LayerRef,
        /,
    ) -> tuple[State, Float[Array, "t hq d"]]: ...


class Projected(NamedTuple):
    """What a layer makes of its rows: queries, keys, values, and what multiplies the attended heads, if anything."""

    q: Float[Array, "t hq d"]
    k: Float[Array, "t hkv d"]
    v: Float[Array, "t hkv d"]
    gate: Float[Array, "t hq d"] | None


class Attention(nnx.Module):
    """Projections, norms and positions of one attention part.

    qkv [slot, group + 2, head_dim, embed] holds, per slot, its query heads, its key and its value, and where it is
    gated [slot, 2 * group + 2, ...] as many gates; out [embed, slot * group * head_dim]. Slots: models/heads.py.
    """

    def __init__(self, part: spec.Attention, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        layout = plan_heads(part.heads, part.kv_heads, tensor_parallel)
        slots, group, dim = layout.slots, layout.group, part.head_dim
        self.part, self.layout = part, layout
        form = FusedHeads(layout, part.heads, part.kv_heads, dim, (hidden,), gated=part.gated)
        fused, axes = (slots, form.in_slot, dim), ("kv_head", "q_group", "head_dim")
        self.qkv = param((*fused, hidden), (*axes, "embed"), dtype, inputs=1, form=form)
        # One axis for all heads: a TPU would lay out another four query heads' rows in every matrix of each layer anew.
        spread = SpreadHeads(layout, part.heads, dim, hidden)
        self.out = param((hidden, slots * group * dim), ("embed", "kv_head"), dtype, inputs=1, form=spread)
        self.qkv_bias = param(fused, axes, dtype, form=replace(form, rest=())) if part.qkv_bias else None
        self.out_bias = param((hidden,), ("embed",), dtype) if part.out_bias else None
        self.sinks = (
            param((slots * group,), ("kv_head",), dtype, form=PerHead(layout, part.heads)) if part.sinks else None
        )
        self.q_norm, self.k_norm = qk_norms(part, layout, dtype)
        self.late_q_norm = Norm(part.late_qk_norm, dim, "head_dim", dtype) if part.late_qk_norm else None
        self.late_k_norm = Norm(part.late_qk_norm, dim, "head_dim", dtype) if part.late_qk_norm else None

    def __call__[State](
        self, x: Float[Array, "t e"], tokens: TokenContext, attend: Attend[State], state: State, place: Place
    ) -> tuple[Float[Array, "t e"], State]:
        """What the layer adds to the residual stream, before scales and norms, and the state after the step."""
        q, k, v, gate = self.project(x, tokens)
        state, attended = attend(state, q, k, v, self.ref(place))
        return self.combine(attended, gate, tokens), state

    def combine(
        self, attended: Float[Array, "t hq d"], gate: Float[Array, "t hq d"] | None, tokens: TokenContext
    ) -> Float[Array, "t e"]:
        """The gate and the output projection."""
        if gate is not None:
            attended = (attended.astype(jnp.float32) * jax.nn.sigmoid(gate.astype(jnp.float32))).astype(attended.dtype)
        attended = attended.reshape(len(attended), -1)
        return linear(attended, weight_of(self.out), tokens.adapters, bias=bias_of(self.out_bias))

    def project(self, x: Float[Array, "t e"], tokens: TokenContext) -> Projected:
        """Queries and keys are normed and rotated."""
        group, dim = self.layout.group, self.part.head_dim
        qkv = linear(x, weight_of(self.qkv), tokens.adapters, bias=bias_of(self.qkv_bias))
        if self.part.clip_qkv is not None:
            qkv = jnp.clip(qkv, -self.part.clip_qkv, self.part.clip_qkv)
        q, k, v = qkv[:, :, :group].reshape(len(x), -1, dim), qkv[:, :, group], qkv[:, :, group + 1]
        q, k = normed(self.q_norm, q), normed(self.k_norm, k)
        for rope in self.part.ropes:
            q, k = rotate(q, tokens.rotations[rope], rope), rotate(k, tokens.rotations[rope], rope)
        q, k = normed(self.late_q_norm, q), normed(self.late_k_norm, k)
        if self.part.temperature is not None:
            q = (q.astype(jnp.float32) * temperatures(self.part.temperature, tokens.positions)).astype(q.dtype)
        gate = qkv[:, :, group + 2 :].reshape(len(x), -1, dim) if self.part.gated else None
        return Projected(q, k, v, gate)

    def ref(self, place: Place) -> LayerRef:
        part = self.part
        alibi = part.position if isinstance(part.position, spec.Alibi) else None
        slopes = None if alibi is None else jnp.asarray(stored_slopes(alibi, part.heads, self.layout))
        sinks = None if self.sinks is None else self.sinks.get_value().astype(jnp.float32)
        score = ScoreMod(part.scale, part.reach, part.soft_cap, part.chunk)
        return LayerRef(place.group, place.index, score, slopes, sinks)


def temperatures(part: spec.Temperature, positions: Int32[Array, "t"]) -> Float32[Array, "t 1 1"]:
    """What the queries at `positions` are multiplied by."""
    periods = jnp.floor((positions.astype(jnp.float32) + part.offset) / part.period)
    return (1 + part.scale * jnp.log1p(periods))[:, None, None]


def alibi_slopes(alibi: spec.Alibi, heads: int) -> np.ndarray:
    """Slope per head, float32: a geometric series, then, past a power of two, every other member of the next series."""
    lower = 2 ** math.floor(math.log2(heads))
    step = alibi.steepest / lower
    series = [2.0 ** (-step * (i + 1)) for i in range(lower)]
    between = [2.0 ** (-step / 2 * (2 * i + 1)) for i in range(heads - lower)]
    return np.asarray(series + between, np.float32) * np.float32(alibi.scale)


def stored_slopes(alibi: spec.Alibi, heads: int, layout: HeadLayout) -> np.ndarray:
    """The slopes in the order in which the query heads are stored; 0 for a zero head."""
    slopes = alibi_slopes(alibi, heads)
    return np.asarray([0 if q is None else slopes[q] for slot in layout.queries for q in slot], np.float32)


def dense_attend(positions: Int32[Array, "t"], segments: Int32[Array, "t"] | None = None) -> DenseAttend:
    """Causal attention among the tokens of one call, without a cache; tokens of other segments are invisible.

    For training, scoring and encoders; differentiable. Its state is passed through.
    """
    distance = positions[:, None] - positions[None, :]
    together = distance >= 0
    if segments is not None:
        together &= segments[:, None] == segments[None, :]
    return DenseAttend(positions, segments, distance, together)


@dataclass(frozen=True, slots=True)
class DenseAttend:
    """What dense_attend() makes."""

    positions: Int32[Array, "t"]
    segments: Int32[Array, "t"] | None
    distance: Int32[Array, "t t"]
    together: Bool[Array, "t t"]

    def __call__[State](self, state: State, q: Array, k: Array, v: Array, layer: LayerRef) -> tuple[State, Array]:
        window, chunk = layer.score.window, layer.score.chunk
        visible = self.together if window is None else self.together & (self.distance < window)
        if chunk is not None:
            visible &= self.positions[:, None] // chunk == self.positions[None, :] // chunk
        return state, dense_attention(q, k, v, layer, self.distance, visible)

    def apply[State](self, state: State, place: Place, op: CacheOp, *arrays: Array) -> tuple[State, Array]:
        """A mixer's own operation, on whole sequences."""
        return state, op.dense(self.positions, self.segments, *arrays)


def dense_attention(
    q: Float[Array, "t hq d"],
    k: Float[Array, "t hkv d"],
    v: Float[Array, "t hkv d"],
    layer: LayerRef,
    distance: Int32[Array, "t t"],
    visible: Bool[Array, "t t"],
) -> Float[Array, "t hq d"]:
    """Softmax attention in float32. `distance`: query minus key position. Every row of `visible` has a True."""
    t, heads, dim = q.shape
    kv_heads = k.shape[1]
    # Head-major rows [hkv, g * t, d]: large products, and no repeated keys.
    rows = q.reshape(t, kv_heads, -1, dim).transpose(1, 2, 0, 3).reshape(kv_heads, -1, dim)
    scores = jnp.einsum("hqd,khd->hqk", rows, k, preferred_element_type=jnp.float32)
    scores = scores.reshape(heads, t, t) * layer.score.scale
    if layer.alibi_slopes is not None:
        scores = scores - layer.alibi_slopes[:, None, None] * distance.astype(jnp.float32)[None]
    if layer.score.soft_cap is not None:
        scores = layer.score.soft_cap * jnp.tanh(scores / layer.score.soft_cap)
    scores = jnp.where(visible[None], scores, -jnp.inf)
    weights = _softmax(scores, layer.sinks).reshape(kv_heads, -1, t)
    out = jnp.einsum("hqk,khd->hqd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return out.reshape(heads, t, dim).transpose(1, 0, 2).astype(q.dtype)


def _softmax(scores: Float[Array, "h q k"], sinks: Float[Array, "h"] | None) -> Float[Array, "h q k"]:
    """A sink is one more score per head that takes weight and gives nothing."""
    if sinks is None:
        return jax.nn.softmax(scores, axis=-1)
    sink = jnp.broadcast_to(sinks[:, None, None], (*scores.shape[:2], 1))
    return jax.nn.softmax(jnp.concatenate([scores, sink], axis=-1), axis=-1)[..., :-1]
