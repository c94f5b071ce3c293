"""Into and out of the residual stream: token rows and positions, and the language-model head.

The vocabulary is padded to VOCAB_MULTIPLE rows per tensor-parallel device.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxpaged.layers.linear import linear
from jaxpaged.layers.norms import Norm, normed
from jaxpaged.layers.param import bias_of, param, table_of, weight_of
from jaxpaged.models.forms import Padded, UnitRows
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.product import StoredWeight, rows_of
from jaxpaged.quant.scheme import Role

VOCAB_MULTIPLE = 64


def padded_vocab(vocab_size: int, tensor_parallel: int) -> int:
    """The vocabulary as it is stored; the logits of padded entries are -inf."""
    multiple = VOCAB_MULTIPLE * tensor_parallel
    return -(-vocab_size // multiple) * multiple


def _vocabulary(
    size: int,
    tensor_parallel: int,
    width: int,
    dtype: DTypeLike,
    role: Role,
    *,
    is_matrix: bool,
    unit_rows: bool = False,
) -> nnx.Param:
    """A row per token, [vocab, embed]: the embedding's table, or the head's matrix, or both where they are tied."""
    kind = UnitRows if unit_rows else Padded
    form = kind((size, width), (padded_vocab(size, tensor_parallel), width))
    return param(form.shape, ("vocab", "embed"), dtype, inputs=int(is_matrix), role=role, form=form)


class TokenEmbedding(nnx.Module):
    """table [vocab, width]; project [embed, width] where the table is narrower than the model; positions [n, embed]."""

    def __init__(self, spec: DecoderSpec, tensor_parallel: int, dtype: DTypeLike) -> None:
        part, hidden = spec.embedding, spec.hidden_size
        self.part = part
        tied = spec.head.tied
        self.table = _vocabulary(spec.vocab_size, tensor_parallel, part.width, dtype, "embedding", is_matrix=tied)
        shape, axes = (hidden, part.width), ("embed", None)
        self.project = param(shape, axes, dtype, inputs=1, role="embedding") if part.width != hidden else None
        self.norm = Norm(part.norm, hidden, "embed", dtype) if part.norm else None
        table = part.positions
        self.positions = param((table.count, hidden), ("position", "embed"), dtype) if table else None

    def __call__(
        self,
        tokens: Int32[Array, "t"],
        positions: Int32[Array, "t"],
        given: Float[Array, "t w"] | None = None,
        is_given: Bool[Array, "t"] | None = None,
    ) -> Float[Array, "t e"]:
        """Where `is_given`, the row of `given` stands for the token's (scaled) row of the table."""
        x = rows_of(table_of(self.table), tokens)
        x = x * jnp.asarray(self.part.scale, x.dtype)
        if given is not None and is_given is not None:
            x = jnp.where(is_given[:, None], given.astype(x.dtype), x)
        if self.project is not None:
            x = linear(x, weight_of(self.project))
        if self.positions is not None and self.part.positions is not None:
            rows = positions + self.part.positions.offset
            x = x + self.positions.get_value().at[rows].get(mode="clip")
        return normed(self.norm, x)


class Head(nnx.Module):
    """Hidden rows -> logits. weight [vocab, width] unless tied; project [width, embed] as in the embedding."""

    def __init__(self, spec: DecoderSpec, tensor_parallel: int, dtype: DTypeLike) -> None:
        width, hidden = spec.embedding.width, spec.hidden_size
        size, vocab = spec.vocab_size, padded_vocab(spec.vocab_size, tensor_parallel)
        self.part, self.vocab_size = spec.head, spec.vocab_size
        shape, axes = (width, hidden), (None, "embed")
        self.project = param(shape, axes, dtype, inputs=1, role="head") if width != hidden else None
        unit_rows = spec.head.unit_rows
        self.weight = (
            None
            if spec.head.tied
            else _vocabulary(size, tensor_parallel, width, dtype, "head", is_matrix=True, unit_rows=unit_rows)
        )
        self.bias = param((vocab,), ("vocab",), dtype, form=Padded((size,), (vocab,))) if spec.head.bias else None

    def __call__(self, x: Float[Array, "n e"], table: Float[Array, "v w"] | StoredWeight) -> Float32[Array, "n v"]:
        """`table`: the embedding's, for a tied head. Padded vocabulary entries are -inf."""
        if self.project is not None:
            x = linear(x, weight_of(self.project))
        weight = table if self.weight is None else weight_of(self.weight)
        logits = linear(x, weight, bias=bias_of(self.bias), out_dtype=jnp.float32) * self.part.scale
        if self.part.soft_cap is not None:
            logits = self.part.soft_cap * jnp.tanh(logits / self.part.soft_cap)
        padding = jnp.arange(logits.shape[1], dtype=jnp.int32) >= self.vocab_size
        return jnp.where(padding[None], -jnp.inf, logits)
