"""StepPlan -> one packed int32 array per step, and back again on the device.

All arrays of a step travel as one upload: eight small ones cost five times as much. Padding points at the null row and
the null page, so every index in the array is valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.plan import ShardPlan, StepPlan

HEADER = ("num_seqs", "num_decodes", "num_tokens", "num_logit_rows")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What bounds every index of a step: device rows, history slots, and pages and table width per cache group."""

    max_num_seqs: int
    rows: int
    history: int
    vocab_size: int
    pages: tuple[int, ...]
    table_width: tuple[int, ...]
    page_size: int


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Where each field of a step of `tokens` padded tokens lies in the packed array.

    decodes_only: such a step computes one token of each sequence.
    """

    tokens: int
    limits: BatchLimits
    decodes_only: bool = False

    @property
    def page_writes(self) -> int:
        """Table entries a step can add per group: whole pages of the chunk and one partial page per sequence."""
        return self.tokens // self.limits.page_size + 2 * min(self.limits.max_num_seqs, self.tokens)

    @property
    def fields(self) -> dict[str, int]:
        seqs, tokens = self.limits.max_num_seqs, self.tokens
        groups = len(self.limits.pages)
        return {
            "header": len(HEADER),
            "tokens": tokens,
            "given": tokens,
            "positions": tokens,
            "token_rows": tokens,
            "seq_rows": seqs,
            "kv_lens": seqs,
            "cu_q_lens": seqs + 1,
            "logits_indices": seqs,
            "logits_request_rows": seqs,
            "logits_positions": seqs,
            "logits_samples": seqs,
            "page_writes": groups * self.page_writes * 3,
        }

    @property
    def size(self) -> int:
        return sum(self.fields.values())

    def views(self, packed: np.ndarray) -> dict[str, np.ndarray]:
        """Named windows into a packed array of shape [..., size]; writing to them writes the array."""
        return {name: packed[..., window] for name, window in _windows(self).items()}


@cache
def _windows(layout: BatchLayout) -> dict[str, slice]:
    """Of each field in the packed array; kept, because every step asks for them."""
    ends = list(accumulate(layout.fields.values()))
    starts = [0, *ends[:-1]]
    return {name: slice(a, b) for name, a, b in zip(layout.fields, starts, ends, strict=True)}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DeviceBatch:
    """One data shard's step on the device. `page_writes` holds (row, table index, page) per cache group."""

    header: Int32[Array, " 4"]
    tokens: Int32[Array, " t"]
    given: Int32[Array, " t"]
    positions: Int32[Array, " t"]
    token_rows: Int32[Array, " t"]
    seq_rows: Int32[Array, " s"]
    kv_lens: Int32[Array, " s"]
    cu_q_lens: Int32[Array, " s1"]
    logits_indices: Int32[Array, " s"]
    logits_request_rows: Int32[Array, " s"]
    logits_positions: Int32[Array, " s"]
    logits_samples: Int32[Array, " s"]
    page_writes: Int32[Array, "g w 3"]

    @property
    def distribution(self) -> Int32[Array, " 3"]:
        """(decodes, decodes and fixed chunks, all sequences), as the attention contract wants it."""
        seqs, decodes = self.header[0], self.header[1]
        return jnp.stack([decodes, decodes, seqs])


def unpack(layout: BatchLayout, packed: Int32[Array, " k"]) -> DeviceBatch:
    """One shard's fields as slices of its packed array."""
    fields = {name: packed[window] for name, window in _windows(layout).items()}
    fields["page_writes"] = fields["page_writes"].reshape(len(layout.limits.pages), -1, 3)
    return DeviceBatch(**fields)


def pack(layout: BatchLayout, plan: StepPlan) -> np.ndarray:
    """The step's only upload, int32 [data shards, layout.size]. Raises InvariantError on an index out of range."""
    packed = np.zeros((len(plan.shards), layout.size), np.int32)
    for shard, row in zip(plan.shards, packed, strict=True):
        if len(shard.rows):
            _check(layout, shard)
            _fill(layout, shard, layout.views(row))
    return packed


def _fill(layout: BatchLayout, shard: ShardPlan, out: dict[str, np.ndarray]) -> None:
    seqs = len(shard.rows)
    ends = np.cumsum(shard.counts, dtype=np.int32)
    total = int(ends[-1])
    out["seq_rows"][:seqs] = shard.rows
    out["kv_lens"][:seqs] = shard.starts + shard.counts
    out["cu_q_lens"][1 : seqs + 1] = ends
    out["cu_q_lens"][seqs + 1 :] = total
    _fill_tokens(shard, ends, total, out)
    logit_rows = _fill_logit_rows(shard, ends, out)
    writes = out["page_writes"].reshape(len(shard.page_writes), -1, 3)
    for group, entries in enumerate(shard.page_writes):
        writes[group, : len(entries)] = entries
    out["header"][:] = (seqs, shard.num_decodes, total, logit_rows)


def _fill_tokens(shard: ShardPlan, ends: np.ndarray, total: int, out: dict[str, np.ndarray]) -> None:
    if total == len(shard.rows):  # decodes only: one token a sequence
        out["token_rows"][:total], out["positions"][:total] = shard.rows, shard.starts
        given = shard.host_counts > 0
    else:
        first = ends - shard.counts
        offset = np.arange(total, dtype=np.int32) - np.repeat(first, shard.counts)
        out["token_rows"][:total] = np.repeat(shard.rows, shard.counts)
        out["positions"][:total] = offset + np.repeat(shard.starts, shard.counts)
        given = offset < np.repeat(shard.host_counts, shard.counts)
    out["given"][:total] = given
    out["tokens"][:total][given] = shard.tokens


def _fill_logit_rows(shard: ShardPlan, ends: np.ndarray, out: dict[str, np.ndarray]) -> int:
    """Rows of the head: the sampled sequences in order, then prompt positions whose log probabilities are wanted."""
    sampled = np.flatnonzero(shard.samples)
    count = len(sampled)
    out["logits_indices"][:count] = ends[sampled] - 1
    out["logits_request_rows"][:count] = shard.rows[sampled]
    out["logits_positions"][:count] = shard.starts[sampled] + shard.counts[sampled] - 1
    out["logits_samples"][:count] = 1
    prompt = shard.prompt_logprob_rows
    end = count + len(prompt)
    if len(prompt):
        out["logits_indices"][count:end] = prompt[:, 0]
        out["logits_request_rows"][count:end] = prompt[:, 1]
        out["logits_positions"][count:end] = out["positions"][prompt[:, 0]]
    return end


def _check(layout: BatchLayout, shard: ShardPlan) -> None:
    """An index out of range would silently wrap, clamp or drop on the device, so it is refused here, every step."""
    if len(shard.draft_counts):
        raise InvariantError("a plan holds draft tokens, and no program verifies them yet")
    if not (_sequences_fit(layout, shard) and _logit_rows_fit(layout, shard) and _writes_fit(layout, shard)):
        raise InvariantError(f"the scheduler planned a step that does not fit {layout.tokens} tokens: {shard}")


def _sequences_fit(layout: BatchLayout, shard: ShardPlan) -> bool:
    limits, decodes = layout.limits, shard.num_decodes
    return bool(
        len(shard.rows) <= limits.max_num_seqs
        and int(shard.counts.sum()) <= layout.tokens
        and shard.counts.min() >= 1
        and 0 <= decodes <= len(shard.rows)
        and bool((shard.counts[:decodes] == 1).all())
        and (decodes == len(shard.rows) or not layout.decodes_only)
        and _within(shard.rows, 1, limits.rows)
        and shard.starts.min() >= 0
        and int((shard.starts + shard.counts).max()) < limits.history
        and _within(shard.tokens, 0, limits.vocab_size)
        and shard.host_counts.min() >= 0
        and bool((shard.host_counts <= shard.counts).all())
        and int(shard.host_counts.sum()) == len(shard.tokens)
    )


def _logit_rows_fit(layout: BatchLayout, shard: ShardPlan) -> bool:
    prompt = shard.prompt_logprob_rows
    logit_rows = int(np.count_nonzero(shard.samples)) + len(prompt)
    return (
        logit_rows <= layout.limits.max_num_seqs
        and _within(prompt[:, 0], 0, int(shard.counts.sum()))
        and _within(prompt[:, 1], 1, layout.limits.rows)
        and _within(shard.masked_logit_rows, 0, int(np.count_nonzero(shard.samples)))
        and len(shard.masks) == len(shard.masked_logit_rows)
    )


def _writes_fit(layout: BatchLayout, shard: ShardPlan) -> bool:
    limits = layout.limits
    return len(shard.page_writes) == len(limits.pages) and all(
        len(writes) <= layout.page_writes
        and _within(writes[:, 0], 1, limits.rows)
        and _within(writes[:, 1], 0, width)
        and _within(writes[:, 2], 0, pages)
        for writes, width, pages in zip(shard.page_writes, limits.table_width, limits.pages, strict=True)
        if len(writes)
    )


def _within(values: np.ndarray, low: int, high: int) -> bool:
    return not len(values) or (int(values.min()) >= low and int(values.max()) < high)
