"""Norms of queries and keys: of each head, with weights for all heads or for each, or of all heads together."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxpaged.layers.norms import Norm, row_means
from jaxpaged.layers.param import param
from jaxpaged.models import head_norms, spec
from jaxpaged.models.forms import EachHead, Padded, SplitHeads
from jaxpaged.models.heads import HeadLayout

Slots = tuple[tuple[int | None, ...], ...]


def qk_norms(part: spec.Attention, layout: HeadLayout, dtype: DTypeLike) -> list[Norm | AcrossHeads | None]:
    """The norm of queries and that of keys, with parameters as the heads are stored."""
    keys = tuple((head,) for head in layout.kv)
    return [
        _norm_of(part, heads, slots, dtype) for heads, slots in ((part.heads, layout.queries), (part.kv_heads, keys))
    ]


def _norm_of(part: spec.Attention, heads: int, slots: Slots, dtype: DTypeLike) -> Norm | AcrossHeads | None:
    dim = part.head_dim
    match part.qk_norm:
        case None:
            return None
        case head_norms.AcrossHeads() as norm:
            return AcrossHeads(norm, SplitHeads(slots, heads, dim), dtype)
        case norm:
            rows = EachHead(heads, Padded((dim,), (dim,)), slots) if part.norm_each_head else None
            return Norm(norm, dim, "head_dim", dtype, rows)


class AcrossHeads(nnx.Module):
    """One RMS norm over all heads of a token. weight [head, head_dim], as the heads are stored."""

    def __init__(self, part: head_norms.AcrossHeads, form: SplitHeads, dtype: DTypeLike) -> None:
        self.part, self.form = part, form
        self.weight = param((form.rows, form.head_dim), ("kv_head", "head_dim"), dtype, form=form)

    def __call__(self, x: Float[Array, "t h d"]) -> Float[Array, "t h d"]:
        """Zero heads add nothing to the mean, and a key head that is stored several times counts once."""
        wide = x.astype(jnp.float32)
        counted = jnp.square(wide) * jnp.asarray(self.form.firsts, jnp.float32)[None, :, None]
        repeated = self.form.rows / self.form.heads
        means = row_means(counted.reshape(len(x), -1)) * repeated
        weight = self.weight.get_value().astype(jnp.float32)[None]
        return (wide * lax.rsqrt(means + self.part.eps)[:, :, None] * weight).astype(x.dtype)
