"""An online softmax over blocks of keys."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.xla.exact import dot_values, pad_rows, power_of_two, row_sums

# Exponents start far below any score, yet differences of two of them do not overflow.
LOWEST = -1e30
LOG2E = math.log2(math.e)


class Softmax(NamedTuple):
    """The blocks so far: integral maximum (log2), sum [n, hkv, tokens, g], values [..., d]."""

    top: jax.Array
    total: jax.Array
    acc: jax.Array


def empty(shape: tuple[int, ...], width: int) -> Softmax:
    """Before the first block. shape [n, hkv, tokens, g]; width: of a value."""
    return Softmax(jnp.full(shape, LOWEST), jnp.zeros(shape), jnp.zeros((*shape, width)))


def add_block(state: Softmax, s: jax.Array, values: jax.Array) -> Softmax:
    """The softmax with a block more.

    s: [n, hkv, tokens, g, keys] in units of log2, LOWEST where a key is not seen. values: [n * hkv, keys, d].
    A row that has seen no key yet adds up arbitrary values, but its maximum is LOWEST: the first key that it sees
    scales all of that to 0.
    """
    rows, keys = math.prod(state.top.shape[2:]), s.shape[-1]
    top = jnp.maximum(state.top, jnp.ceil(jnp.max(s, axis=-1)))
    p = jnp.exp2(s - top[..., None]).astype(values.dtype)
    p = pad_rows(p.reshape(-1, rows, keys))
    shrink = power_of_two(state.top - top)
    return Softmax(
        top,
        state.total * shrink + row_sums(p)[:, :rows].reshape(state.total.shape),
        state.acc * shrink[..., None] + dot_values(p, values)[:, :rows].reshape(state.acc.shape),
    )


def add_sinks(state: Softmax, sinks: jax.Array) -> Softmax:
    """The softmax with a logit per query head, sinks [hq], that has no value."""
    _, kv_heads, _, group = state.top.shape
    sink = (sinks * LOG2E).reshape(1, kv_heads, 1, group)
    top = jnp.maximum(state.top, jnp.ceil(sink))
    shrink = power_of_two(state.top - top)
    return Softmax(top, state.total * shrink + jnp.exp2(sink - top), state.acc * shrink[..., None])


def result(state: Softmax) -> jax.Array:
    """float32 [n, tokens, hq, d]; 0 for a row that saw no key."""
    out = state.acc / jnp.where(state.total > 0, state.total, 1.0)[..., None]
    width, _, tokens, _, value = out.shape
    return out.swapaxes(1, 2).reshape(width, tokens, -1, value)
