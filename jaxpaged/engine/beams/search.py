"""One beam search on the host: from the best next tokens of its beams, which beams go on and which have ended.

The algorithm is transformers' generate(num_beams=..., early_stopping=False):
- a candidate is a beam and its next token; the best `width` of those that do not end go on;
- one that ends (a stop token, or the longest answer) is kept if it is among the best `width` candidates of its step;
- score = sum of log probabilities / (generated tokens, the stop token included) ** length_penalty;
- it is over at the longest answer, or when `width` answers have ended and none of them is worse than what the best
  live beam would score if it ended now.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxpaged.engine.messages import TokenLogprobs
from jaxpaged.errors import RequestError


class Candidates(NamedTuple):
    """The best next tokens of one beam, in order, and the whole of what the engine says about this position."""

    token_ids: Sequence[int]
    logprobs: Sequence[float]
    position: TokenLogprobs | None = None


class Choice(NamedTuple):
    """How one of the next beams begins: which of the present ones it continues, with which token."""

    parent: int
    token_id: int


@dataclass(frozen=True, slots=True)
class Beam:
    """The last token of a beam, and the beam before it. `cumulative` is the sum of its log probabilities."""

    before: Beam | None
    token_id: int
    cumulative: float
    length: int
    position: TokenLogprobs | None

    def path(self) -> list[Beam]:
        """From the first generated token to the last."""
        path: list[Beam] = []
        beam: Beam | None = self
        while beam is not None and beam.length:
            path.append(beam)
            beam = beam.before
        return path[::-1]


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer, and what it is ranked by."""

    beam: Beam
    score: float
    by_stop_token: bool


class _Candidate(NamedTuple):
    cumulative: float
    parent: int
    token_id: int


_EMPTY = Beam(None, -1, 0.0, 0, None)
_LARGEST_EXPONENT = 700.0  # of e, in a float


class BeamSearch:
    """`max_tokens` is the longest answer. `beams` are the live ones, best first; `ended` the best `width` answers."""

    def __init__(self, width: int, length_penalty: float, stop_ids: Collection[int], max_tokens: int) -> None:
        self.width = width
        self.beams: list[Beam] = [_EMPTY]
        self.ended: list[Ended] = []
        self._length_penalty = length_penalty
        self._stop_ids = frozenset(stop_ids)
        self._max_tokens = max_tokens

    @property
    def num_candidates(self) -> int:
        """How many of a beam's best tokens can matter: each stop token may take the place of one that goes on."""
        return num_candidates(self.width, len(self._stop_ids))

    def step(self, candidates: Sequence[Candidates]) -> list[Choice]:
        """Take the best next tokens of each live beam; returns the next beams, best first, or none when it is over."""
        length = self.beams[0].length + 1
        last = length >= self._max_tokens
        ranked = self._ranked(candidates)
        for candidate in ranked[: self.width]:
            stops = candidate.token_id in self._stop_ids
            if last or stops:
                score = normalised(candidate.cumulative, length, self._length_penalty)
                self.ended.append(Ended(self._extended(candidate, candidates), score, stops))
        self.ended.sort(key=lambda ended: -ended.score)
        del self.ended[self.width :]
        going = [candidate for candidate in ranked if candidate.token_id not in self._stop_ids][: self.width]
        self.beams = [self._extended(candidate, candidates) for candidate in going]
        if last or not going or self._is_settled(length):
            return []
        return [Choice(candidate.parent, candidate.token_id) for candidate in going]

    def _ranked(self, candidates: Sequence[Candidates]) -> list[_Candidate]:
        """The candidates of all beams, best first."""
        every = [
            _Candidate(beam.cumulative + logprob, parent, token)
            for parent, (beam, (ids, logprobs, _)) in enumerate(zip(self.beams, candidates, strict=True))
            for token, logprob in zip(ids, logprobs, strict=True)
        ]
        return sorted(every, key=lambda candidate: -candidate.cumulative)

    def _extended(self, candidate: _Candidate, candidates: Sequence[Candidates]) -> Beam:
        before = self.beams[candidate.parent]
        position = candidates[candidate.parent].position
        return Beam(before, candidate.token_id, candidate.cumulative, before.length + 1, position)

    def _is_settled(self, length: int) -> bool:
        if len(self.ended) < self.width:
            return False
        return normalised(self.beams[0].cumulative, length, self._length_penalty) <= self.ended[-1].score


def check_width(width: int, num_stop_ids: int, vocab_size: int) -> None:
    """Raise RequestError when there are not `width` tokens to begin with."""
    if width > vocab_size - num_stop_ids:
        raise RequestError(
            f"beam_width is {width}, but only {vocab_size - num_stop_ids} tokens of the vocabulary end no answer.",
            "beam_width",
        )


def num_candidates(width: int, num_stop_ids: int) -> int:
    """How many of each beam's best tokens a search must see: 2 x width, or more where there are many stop tokens."""
    return width + max(width, num_stop_ids)


def normalised(cumulative: float, length: int, length_penalty: float) -> float:
    """cumulative / length ** length_penalty, where the power may be beyond what a float holds."""
    exponent = length_penalty * math.log(length)
    return cumulative * math.exp(min(max(-exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT))
