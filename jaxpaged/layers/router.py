"""Which experts a row uses, and their weights: in float32, row by row."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.layers.linear import narrow_linear
from jaxpaged.layers.param import bias_of, param
from jaxpaged.models import experts as spec

TINY = 1e-20  # keeps a sum of vanishing weights from dividing by 0


class Choice(NamedTuple):
    """Per row the numbers of its experts, the best first, and what multiplies them."""

    experts: Int32[Array, "t k"]
    weights: Float32[Array, "t k"]


class Router(nnx.Module):
    """weight [expert, embed], in float32 products."""

    def __init__(self, part: spec.Router, hidden: int, dtype: DTypeLike) -> None:
        self.part = part
        self.weight = param((part.experts, hidden), (None, "embed"), dtype)  # no linear(): it is never quantized
        self.bias = param((part.experts,), (None,), dtype) if part.bias else None
        self.correction = param((part.experts,), (None,), jnp.float32) if part.correction_bias else None

    def __call__(self, x: Float[Array, "t e"]) -> Choice:
        logits = narrow_linear(x, self.weight.get_value())
        if self.bias is not None:
            logits = logits + self.bias.get_value().astype(jnp.float32)[None]
        return choose(logits, self.part, bias_of(self.correction))


def choose(logits: Float32[Array, "t n"], router: spec.Router, correction: Float32[Array, "n"] | None = None) -> Choice:
    """The experts of each row by its logits."""
    if router.scores == "sparsemixer":
        return _sparsemixer(logits, router.jitter)
    scores = jax.nn.softmax(logits, axis=-1) if router.scores == "softmax" else jax.nn.sigmoid(logits)
    ranked = scores if correction is None else scores + correction[None]
    if router.groups is not None:
        ranked = _within_groups(ranked, router.groups)
    _, experts = lax.top_k(ranked, router.top_k)
    weights = jnp.take_along_axis(scores, experts, axis=1)
    if router.renormalize:
        weights = weights / (jnp.sum(weights, axis=1, keepdims=True) + TINY)
    return Choice(experts.astype(jnp.int32), weights * router.scale)


def _within_groups(scores: Float32[Array, "t n"], groups: spec.ExpertGroups) -> Float32[Array, "t n"]:
    """-inf for the experts of all groups but each row's best."""
    by_group = scores.reshape(len(scores), groups.count, -1)
    best, _ = lax.top_k(by_group, groups.best)
    _, kept = lax.top_k(jnp.sum(best, axis=-1), groups.kept)
    is_kept = jnp.any(jax.nn.one_hot(kept, groups.count, dtype=bool), axis=1)
    return jnp.where(is_kept[:, :, None], by_group, -jnp.inf).reshape(scores.shape)


def _sparsemixer(logits: Float32[Array, "t n"], jitter: float) -> Choice:
    """arXiv 2409.12136, at inference: a choice's weight is its softmax among the logits that are near to it."""
    experts, weights = [], []
    left = logits
    for _ in range(2):
        best = jnp.max(left, axis=1, keepdims=True)
        far = (best - logits) / jnp.maximum(jnp.abs(logits), best) > 2 * jitter
        chosen = jnp.argmax(left, axis=1)
        shares = jax.nn.softmax(jnp.where(far, -jnp.inf, left), axis=1)
        experts.append(chosen)
        weights.append(jnp.take_along_axis(shares, chosen[:, None], axis=1)[:, 0])
        left = jnp.where(jax.nn.one_hot(chosen, logits.shape[1], dtype=bool), -jnp.inf, left)
    return Choice(jnp.stack(experts, axis=1).astype(jnp.int32), jnp.stack(weights, axis=1))
