"""StepPlan -> one packed int32 array per step, and back again on the device.

All arrays of a step travel as one upload: eight small ones cost five times as much. Padding points at the null row and
the null page, so every index in the array is valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import lt
from typing import NamedTuple

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


@dataclass(frozen=True)
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

    @cached_property
    def starts(self) -> dict[str, int]:
        """Where each field begins in the packed array."""
        return dict(zip(self.fields, accumulate(self.fields.values(), initial=0), strict=False))

    @cached_property
    def windows(self) -> dict[str, slice]:
        """Where each field lies in the packed array."""
        return {name: slice(start, start + self.fields[name]) for name, start in self.starts.items()}

    @cached_property
    def size(self) -> int:
        return sum(self.fields.values())

    @cached_property
    def first_entries(self) -> np.ndarray:
        """The starts of all fields, for reductions over each."""
        return np.array(list(self.starts.values()), np.intp)

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """What all entries of each field are below."""
        limits, anything = self.limits, 1 << 31
        below = {
            "tokens": limits.vocab_size,
            "given": 2,
            "positions": limits.history,
            "token_rows": limits.rows,
            "seq_rows": limits.rows,
            "kv_lens": limits.history,
            "logits_request_rows": limits.rows,
            "logits_positions": limits.history,
        }
        return tuple(below.get(name, anything) for name in self.fields)

    def views(self, packed: np.ndarray) -> dict[str, np.ndarray]:
        """Named windows into a packed array of shape [..., size]; writing to them writes the array."""
        return {name: packed[..., window] for name, window in self.windows.items()}


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
    fields = {name: packed[window] for name, window in layout.windows.items()}
    fields["page_writes"] = fields["page_writes"].reshape(len(layout.limits.pages), -1, 3)
    return DeviceBatch(**fields)


class _Sequences(NamedTuple):
    """A shard's n sequences: their lengths after the step [n], where their tokens end in it [n], the number of all
    tokens, and the index of those that are sampled [k]."""

    kv_lens: np.ndarray
    ends: np.ndarray
    total: int
    sampled: np.ndarray


def pack(layout: BatchLayout, plan: StepPlan) -> np.ndarray:
    """The step's only upload, int32 [data shards, layout.size]. Raises InvariantError on an index out of range."""
    packed = np.zeros((len(plan.shards), layout.size), np.int32)
    for shard, row in zip(plan.shards, packed, strict=True):
        if len(shard.rows):
            _pack_shard(layout, shard, row)
    return packed


def _pack_shard(layout: BatchLayout, shard: ShardPlan, out: np.ndarray) -> None:
    """An index out of range would silently wrap, clamp or drop on the device, so it is refused here, every step."""
    if len(shard.draft_counts):
        raise InvariantError("a plan holds draft tokens, and no program verifies them yet")
    ends = shard.counts.cumsum(dtype=np.int32)
    seqs = _Sequences(shard.starts + shard.counts, ends, int(ends[-1]), shard.samples.nonzero()[0])
    if _has_room(layout, shard, seqs) and _writes_fit(layout, shard):
        _fill(layout.starts, shard, seqs, out)
        if _is_within(layout, out):
            return
    raise InvariantError(f"the scheduler planned a step that does not fit {layout.tokens} tokens: {shard}")


def _has_room(layout: BatchLayout, shard: ShardPlan, seqs: _Sequences) -> bool:
    """Whether the fields have room for the step: then it can be filled in, whatever rows, tokens and pages it names."""
    count, decodes, given, prompt = len(shard.rows), shard.num_decodes, shard.host_counts, shard.prompt_logprob_rows
    return bool(
        count <= layout.limits.max_num_seqs
        and 0 <= decodes <= count
        and (decodes == count or not layout.decodes_only)
        and np.minimum.reduce(shard.counts) >= 1
        and (not decodes or seqs.ends[decodes - 1] == decodes)
        and seqs.total <= layout.tokens
        and np.count_nonzero(shard.rows) == count
        and np.count_nonzero(given.view(np.uint32) <= shard.counts.view(np.uint32)) == count
        and np.add.reduce(given) == len(shard.tokens)
        and len(seqs.sampled) + len(prompt) <= layout.limits.max_num_seqs
        and (not len(prompt) or (_below(prompt[:, 0], seqs.total) and np.count_nonzero(prompt[:, 1]) == len(prompt)))
        and len(shard.masks) == len(shard.masked_logit_rows)
        and _below(shard.masked_logit_rows, len(seqs.sampled))
    )


def _writes_fit(layout: BatchLayout, shard: ShardPlan) -> bool:
    limits = layout.limits
    if len(shard.page_writes) != len(limits.pages):
        return False
    for writes, width, pages in zip(shard.page_writes, limits.table_width, limits.pages, strict=True):
        if len(writes):
            row, index, page = np.maximum.reduce(writes.view(np.uint32)).tolist()
            if row >= limits.rows or index >= width or page >= pages:
                return False
            if len(writes) > layout.page_writes or np.count_nonzero(writes[:, 0]) < len(writes):
                return False
    return True


def _is_within(layout: BatchLayout, out: np.ndarray) -> bool:
    """Whether every entry of every field is below its bound; a negative one is a large unsigned one."""
    largest = np.maximum.reduceat(out.view(np.uint32), layout.first_entries)
    return all(map(lt, largest.tolist(), layout.bounds))


def _below(values: np.ndarray, limit: int) -> bool:
    """Whether all values are in 0..limit-1."""
    return not len(values) or int(np.maximum.reduce(values.view(np.uint32))) < limit


def _fill(at: dict[str, int], shard: ShardPlan, seqs: _Sequences, out: np.ndarray) -> None:
    """`at`: where each field begins in `out`."""
    count = len(shard.rows)
    _put(out, at["seq_rows"], shard.rows)
    _put(out, at["kv_lens"], seqs.kv_lens)
    _put(out, at["cu_q_lens"] + 1, seqs.ends)
    out[at["cu_q_lens"] + 1 + count : at["logits_indices"]] = seqs.total
    _fill_decodes(at, shard, out)
    if seqs.total > shard.num_decodes:
        _fill_chunks(at, shard, seqs, out)
    logit_rows = _fill_logit_rows(at, shard, seqs, out)
    writes = out[at["page_writes"] :].reshape(len(shard.page_writes), -1, 3)
    for group, entries in enumerate(shard.page_writes):
        writes[group, : len(entries)] = entries
    out[: len(HEADER)] = (count, shard.num_decodes, seqs.total, logit_rows)


def _put(out: np.ndarray, start: int, values: np.ndarray) -> None:
    out[start : start + len(values)] = values


def _fill_decodes(at: dict[str, int], shard: ShardPlan, out: np.ndarray) -> None:
    """The first tokens of the step: one of each of the first sequences."""
    count = shard.num_decodes
    given = shard.host_counts[:count]
    _put(out, at["token_rows"], shard.rows[:count])
    _put(out, at["positions"], shard.starts[:count])
    if np.count_nonzero(given):
        which = given.nonzero()[0]
        _put(out, at["given"], given)
        out[at["tokens"] + which] = shard.tokens[: len(which)]


def _fill_chunks(at: dict[str, int], shard: ShardPlan, seqs: _Sequences, out: np.ndarray) -> None:
    """The other tokens, chunk after chunk."""
    first = shard.num_decodes
    counts, given = shard.counts[first:], shard.host_counts[first:]
    begins = seqs.ends[first:] - counts
    places = np.arange(first, seqs.total, dtype=np.int32)
    _put(out, at["token_rows"] + first, shard.rows[first:].repeat(counts))
    _put(out, at["positions"] + first, places + (shard.starts[first:] - begins).repeat(counts))
    if len(shard.tokens) == len(places) and np.count_nonzero(given == counts) == len(counts):
        out[at["given"] + first : at["given"] + seqs.total] = 1
        _put(out, at["tokens"] + first, shard.tokens)
    else:
        known = places < (begins + given).repeat(counts)
        _put(out, at["given"] + first, known)
        where = known.nonzero()[0]
        out[at["tokens"] + first + where] = shard.tokens[len(shard.tokens) - len(where) :]


def _fill_logit_rows(at: dict[str, int], shard: ShardPlan, seqs: _Sequences, out: np.ndarray) -> int:
    """Rows of the head: the sampled sequences in order, then prompt positions whose log probabilities are wanted."""
    count, prompt = len(seqs.sampled), shard.prompt_logprob_rows
    ends, rows, kv_lens = seqs.ends, shard.rows, seqs.kv_lens
    if count < len(rows):
        ends, rows, kv_lens = ends[seqs.sampled], rows[seqs.sampled], kv_lens[seqs.sampled]
    _put(out, at["logits_indices"], ends - 1)
    _put(out, at["logits_request_rows"], rows)
    _put(out, at["logits_positions"], kv_lens - 1)
    out[at["logits_samples"] : at["logits_samples"] + count] = 1
    if len(prompt):
        _put(out, at["logits_indices"] + count, prompt[:, 0])
        _put(out, at["logits_request_rows"] + count, prompt[:, 1])
        _put(out, at["logits_positions"] + count, out[at["positions"] + prompt[:, 0]])
    return count + len(prompt)
