"""One sequence to generate, as the scheduler sees it: tokens only, no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxpaged.params.thinking import ThinkingLimit
from jaxpaged.sampling_params import SamplingParams

NOT_CHOSEN = 2**31 - 1
EMPTY_TOKENS: NDArray[np.int32] = np.zeros(0, np.int32)


class RequestStatus(IntEnum):
    """Where a request is. PREEMPTED waits like WAITING, but keeps the tokens that it has generated."""

    WAITING = 1
    RUNNING = 2
    PREEMPTED = 3
    FINISHED = 4


@dataclass(slots=True, eq=False)
class BeamGroup:
    """Requests that are the beams of one search: each waits, after every token, for the choice among all of them.

    `members` are in the order of the beams. Each had `num_tokens` tokens at the last choice (before the first one: the
    prompt) and may generate `most_tokens`. The first `num_shared` are the same for all: NOT_CHOSEN before beams differ.
    """

    members: list[Request]
    num_tokens: int
    most_tokens: int = 0
    num_shared: int = NOT_CHOSEN


@dataclass(slots=True, eq=False)
class Request:
    """What to generate. The fields up to `events` are the caller's, the rest belong to the scheduler.

    `request_id` is a number that no other live request has.
    `variant` is the sampler variant of its rows and `seed` the seed of its random numbers, both chosen by the engine.
    `content_hashes` holds (first token position, digest) of whatever changes the keys and values without changing the
    token ids: prompt embeddings at position 0, images where they stand. `prompt_embeds`: float32 [prompt_len, hidden].
    `events` is a timeline of (name, monotonic seconds): queued, scheduled, first_token, preempted, finished.
    """

    request_id: int
    prompt_token_ids: list[int]
    params: SamplingParams
    eos_token_ids: tuple[int, ...] = ()
    arrival: float = 0.0
    priority: int = 0
    cache_salt: str | None = None
    adapter: str | None = None
    adapter_version: int = 0
    content_hashes: tuple[tuple[int, bytes], ...] = ()
    prompt_embeds: NDArray[Any] | None = None
    thinking: ThinkingLimit | None = None
    variant: int = 0
    seed: int = 0
    events: list[tuple[str, float]] = field(default_factory=list)

    finish_reason: str | None = None
    stop_reason: int | str | None = None
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    # Where it runs; row 0 is nowhere.
    shard: int = 0
    row: int = 0
    rank: tuple[int, float, int] = (0, 0.0, 0)
    # The prompt, and what was generated before the last preemption. While it runs the scheduler's rows know the rest.
    tokens: NDArray[np.int32] = field(default_factory=lambda: EMPTY_TOKENS)
    # Ready-made for admission: the fixed columns of its row, tokens that end it beside the first, pages per group.
    row_words: NDArray[np.int32] = field(default_factory=lambda: EMPTY_TOKENS)
    more_stop_ids: list[int] = field(default_factory=list)
    page_need: tuple[int, ...] = ()
    scores_prompt: bool = False
    # Other samples of the same prompt, until this one, their parent, has it computed; they know their parent.
    children: tuple[Request, ...] = ()
    parent: Request | None = None
    beams: BeamGroup | None = None
    # The parent of the first page, then the digests of the full pages of `tokens`; and how many a hit may use of these.
    page_digests: bytes = b""
    usable_pages: int = 0

    @property
    def num_samples(self) -> int:
        """The rows that it will take: its own, and one for each sample that waits for its prompt."""
        return 1 + len(self.children)

    @property
    def waits(self) -> bool:
        """Whether the host decides after each token how it goes on; see engine/followers.py."""
        return self.beams is not None or self.params.structured_outputs is not None or self.thinking is not None

    @property
    def prompt_len(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_shared(self) -> int:
        """How many of its tokens its children need not compute; of a prompt they compute the last, for its logits."""
        return self.prompt_len - 1 if self.beams is None else self.beams.num_shared

    @property
    def status(self) -> RequestStatus:
        if self.finish_reason is not None:
            return RequestStatus.FINISHED
        if self.row:
            return RequestStatus.RUNNING
        return RequestStatus.PREEMPTED if self.num_preemptions else RequestStatus.WAITING
