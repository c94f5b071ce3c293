"""The sequences of a step, as every implementation is given them."""

from __future__ import annotations

from typing import NamedTuple

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
