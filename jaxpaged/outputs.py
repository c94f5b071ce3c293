"""What a caller gets back. Names and fields are vLLM's; `error` is ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Logprob:
    """Log probability of one token at one position; `rank` 1 is the most likely token of the vocabulary.

    `decoded_token` is the text that the token adds, `token_bytes` its own bytes: they differ in parts of a character.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None
    token_bytes: bytes | None = field(default=None, compare=False, repr=False)


PositionLogprobs = dict[int, Logprob]  # token id -> Logprob: the token itself first, then the best ones
SampleLogprobs = list[PositionLogprobs]
PromptLogprobs = Sequence[PositionLogprobs | None]  # None at position 0: nothing predicts the first token


@dataclass(slots=True)
class RequestMetrics:
    """When a request was where. `*_ts` are seconds of the monotonic clock, 0.0 if not reached; `arrival_time` is wall
    time. For n > 1 the earliest child counts for the first four, the last one for `last_token_ts`.
    """

    num_generation_tokens: int = 0
    num_preemptions: int = 0
    arrival_time: float = 0.0
    queued_ts: float = 0.0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0

    def note(self, events: Iterable[tuple[str, float]], *, arrival: float) -> None:
        """Add events of a request's timeline, in their order; `arrival` is on the same clock."""
        for name, when in events:
            if name == "preempted":
                self.num_preemptions += 1
            elif name == "queued":
                self.queued_ts = _earliest(self.queued_ts, when)
            elif name == "scheduled":
                self.scheduled_ts = _earliest(self.scheduled_ts, when)
            elif name == "first_token":
                self._note_first_token(when, arrival)

    def note_tokens(self, count: int, when: float, *, arrival: float) -> None:
        """`count` tokens reached the caller at `when`."""
        if count:
            self._note_first_token(when, arrival)
            self.num_generation_tokens += count
            self.last_token_ts = when

    def _note_first_token(self, when: float, arrival: float) -> None:
        self.first_token_ts = _earliest(self.first_token_ts, when)
        self.first_token_latency = self.first_token_ts - arrival


def _earliest(known: float, when: float) -> float:
    return min(known, when) if known else when


@dataclass(slots=True)
class CompletionOutput:
    """One of the n completions of a request.

    `finish_reason` is None while it runs, then "stop", "length", "abort" or "error". `stop_reason` is the stop string
    or stop token id that ended it, None for an end-of-sequence token; with "error", which fields of the request left no
    token to generate. `text_ends` says for each token where the whole text ends with it; a stop string may have cut the
    text before that. `cumulative_logprob` sums the sampled tokens' log probabilities, where they were asked for.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: SampleLogprobs | None
    finish_reason: str | None = field(default=None, kw_only=True)
    stop_reason: int | str | None = field(default=None, kw_only=True)
    text_ends: list[int] = field(default_factory=list, kw_only=True, repr=False, compare=False)

    def finished(self) -> bool:
        return self.finish_reason is not None


@dataclass(slots=True)
class RequestOutput:
    """The state of a request: its prompt and its completions, in the order of their index.

    `prompt` is None when token ids or embeddings were given. `error` says what went wrong when a completion has the
    finish_reason "error".
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: PromptLogprobs | None
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestMetrics | None = None
    num_cached_tokens: int | None = field(default=None, kw_only=True)
    error: str | None = field(default=None, kw_only=True)

    def add(self, next_output: Self, aggregate: bool) -> None:
        """Take in a later output of the same request: join its deltas (aggregate) or replace what it brings."""
        self.finished |= next_output.finished
        self.metrics = next_output.metrics
        self.error = self.error or next_output.error
        if next_output.num_cached_tokens is not None:
            self.num_cached_tokens = next_output.num_cached_tokens
        known = {completion.index: position for position, completion in enumerate(self.outputs)}
        for completion in next_output.outputs:
            position = known.get(completion.index)
            if position is None:
                self.outputs.append(completion)
            elif aggregate:
                self.outputs[position] = _joined(self.outputs[position], completion)
            else:
                self.outputs[position] = completion
        self.outputs.sort(key=lambda completion: completion.index)

    def num_logprobs(self) -> int:
        """How many log probabilities it holds, which its size depends on."""
        lists = [self.prompt_logprobs, *(completion.logprobs for completion in self.outputs)]
        return sum(len(positions) * len(positions[-1] or ()) for positions in lists if positions)


def _joined(first: CompletionOutput, then: CompletionOutput) -> CompletionOutput:
    return CompletionOutput(
        index=first.index,
        text=first.text + then.text,
        token_ids=[*first.token_ids, *then.token_ids],
        cumulative_logprob=then.cumulative_logprob,
        logprobs=None if first.logprobs is None else first.logprobs + (then.logprobs or []),
        finish_reason=then.finish_reason,
        stop_reason=then.stop_reason,
        text_ends=first.text_ends + then.text_ends,
    )
