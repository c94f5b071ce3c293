"""What a step computes: the only thing the device side receives, and what it answers.

Refinements of the agreed fields:
- `Admission.pages[g]` are the entries 0..k-1 of the row's page table of group g, the first chunk's pages included and
  null (0) where a sliding window has passed; `page_writes` are later changes, and may repeat some of the admission's.
- `Admission.known_tokens` are tokens 0..k-1 that must be in the device history but are not all among
  `ShardPlan.tokens`: a cached prefix (for samplers that look back: variant >= 2) or, with prompt_logprobs, the whole
  prompt (the next token is the target, and may lie in the next chunk). Empty for the others.
- `ShardPlan.tokens` of sequence i are its first host_counts[i] tokens, at positions starts[i]...; the others were
  sampled on the device by an earlier plan.
- Entries of a sliding-window page table behind the window are not erased on the device: attention must not read them.
- Order of execution: admissions, page_copies, page_writes, then the tokens.
- `draft_counts` is empty unless speculation is on; else the last draft_counts[i] of the counts[i] tokens are drafts,
  and the logits of the last draft_counts[i] + 1 positions are needed.
- `masks` are not the scheduler's: an engine with structured requests adds them to the plan.
- `ShardPlan.request_ids` do not concern the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxpaged.sampling_params import SamplingParams

IntArray = NDArray[np.int32]
IdArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def _nothing(shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """An empty array that cannot be written to, so that plans may share it."""
    made: NDArray[Any] = np.zeros(shape, dtype)
    made.flags.writeable = False
    return made


_NO_INTS: IntArray = _nothing((0,), np.int32)
_NO_FLAGS: BoolArray = _nothing((0,), np.bool_)
_NO_MASKS: IntArray = _nothing((0, 0), np.int32)


class Admission(NamedTuple):
    """A device row to initialise before the step. A NamedTuple because hundreds may be made in one step."""

    row: int
    request_id: int
    params: SamplingParams
    prompt_len: int
    seed: int
    pages: tuple[IntArray, ...]
    known_tokens: IntArray
    prompt_embeds: NDArray[Any] | None = None
    eos_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The n sequences that one data shard computes: those with one token first.

    request_ids: int64 [n], whose the sequences are. For the host: a row may belong to another request, or to none, by
    the time the answer to the plan arrives.
    rows, starts, counts: int32 [n], device row, first position and number of tokens.
    host_counts: int32 [n], how many of them are given in `tokens`, int32 [sum(host_counts)].
    samples: bool [n], whether the token after the last position is sampled.
    prompt_logprob_rows: int32 [m, 2] of (index of the token in this shard's step, device row).
    page_writes: per cache group int32 [k, 3] of (row, table index, page). page_copies: int32 [k, 2] of (from, to).
    variant: the largest sampler variant among the sampled rows.
    masked_logit_rows, masks: int32 [k] which of the sampled rows, counted in the order of the plan, may only be
    followed by the tokens whose bits are set in int32 [k, vocabulary / 32].
    """

    request_ids: IdArray
    rows: IntArray
    starts: IntArray
    counts: IntArray
    host_counts: IntArray
    tokens: IntArray
    samples: BoolArray
    prompt_logprob_rows: IntArray
    page_writes: tuple[IntArray, ...]
    page_copies: tuple[IntArray, ...]
    admissions: tuple[Admission, ...]
    variant: int
    num_decodes: int
    draft_counts: IntArray = field(default_factory=lambda: _NO_INTS)
    masked_logit_rows: IntArray = field(default_factory=lambda: _NO_INTS)
    masks: IntArray = field(default_factory=lambda: _NO_MASKS)

    def with_masks(self, heads: IntArray, masks: IntArray) -> ShardPlan:
        return replace(self, masked_logit_rows=heads, masks=masks)

    @classmethod
    def empty(cls, num_groups: int) -> ShardPlan:
        """A shard with nothing to do in a step that others need."""
        nobody, none, flags = np.zeros(0, np.int64), _NO_INTS, _NO_FLAGS
        writes = (np.zeros((0, 3), np.int32),) * num_groups
        copies = (np.zeros((0, 2), np.int32),) * num_groups
        heads = np.zeros((0, 2), np.int32)
        return cls(nobody, none, none, none, none, none, flags, heads, writes, copies, (), 0, 0)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step of all data shards. A value: another host's runner can execute it from its bytes alone."""

    step: int
    shards: tuple[ShardPlan, ...]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """Per scheduled sequence: tokens int32 [n, k], how many of them count int32 [n] (0 where nothing was sampled),
    and whether its logits were finite, bool [n] (True where there were none). `empty`: bool [n], or [0] for none,
    where they were not because every token was forbidden."""

    tokens: IntArray
    num_tokens: IntArray
    finite: BoolArray
    empty: BoolArray = field(default_factory=lambda: _NO_FLAGS)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the device answers to a StepPlan, shard by shard."""

    shards: tuple[ShardResult, ...]
