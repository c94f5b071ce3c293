"""The sequences of a step, as every implementation is given them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int32


class Sequences(NamedTuple):
    """Which pages each sequence has, how long it is, and which of the step's tokens are its own.

    page_table: page ids of sequence s in order; entries that no visible key lies on may be anything in range.
    kv_lens: tokens of the sequence, the new ones included; 0 is padding.
    cu_q_lens: new tokens of sequence s are cu_q_lens[s]:cu_q_lens[s + 1]; the i-th has position kv_lens[s] - q_len + i.
    distribution: sequences with one new token, which come first; up to here chunks; sequences in all.
    """

    page_table: Int32[Array, "s p"]
    kv_lens: Int32[Array, " s"]
    cu_q_lens: Int32[Array, " s+1"]
    distribution: Int32[Array, " 3"]


def check_sequences(sequences: Sequences) -> None:
    """Raise ValueError, starting with the field's name, unless shapes and dtypes fit together."""
    count = sequences.kv_lens.shape[0] if sequences.kv_lens.ndim == 1 else -1
    width = sequences.page_table.shape[-1]
    wanted = {"kv_lens": (count,), "page_table": (count, width), "cu_q_lens": (count + 1,), "distribution": (3,)}
    for name, shape in wanted.items():
        array = getattr(sequences, name)
        if array.shape != shape or array.dtype != jnp.int32:
            raise ValueError(f"{name}: want int32 {shape}, got {array.dtype} {array.shape}.")
