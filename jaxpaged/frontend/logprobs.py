"""TokenLogprobs of the engine to the dictionaries that vLLM's users know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from jaxpaged.engine.messages import TokenLogprobs
from jaxpaged.outputs import Logprob, PositionLogprobs
from jaxpaged.text.vocabulary import Vocabulary


def position_logprobs(
    entry: TokenLogprobs, vocabulary: Vocabulary | None, context: Sequence[int] = (), *, named: bool = False
) -> PositionLogprobs:
    """One position: the token itself first, then the best ones with ranks 1, 2, ... (or `named` ones, without ranks).

    `context` are the ids before it (the last four matter): with them, a token that completes a character split over
    several tokens is spelled as that character, and the tokens before it as "".
    """
    entries = {entry.token_id: Logprob(entry.logprob, entry.rank)}
    for rank, (token_id, logprob) in enumerate(zip(entry.top_ids, entry.top_logprobs, strict=True), start=1):
        if token_id != entry.token_id:
            entries[token_id] = Logprob(logprob, None if named else rank)
    if vocabulary is not None:
        for token_id, found in entries.items():
            found.decoded_token = vocabulary.token_text_after(context, token_id)
            found.token_bytes = vocabulary.token_bytes(token_id)
    return entries


class SpelledPrompt(Sequence[PositionLogprobs | None]):
    """Log probabilities of a prompt's positions, after a None for its first token; equal to the list of them.

    A position is put together when it is read: all of a long prompt's would hold the event loop for long.
    """

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __init__(
        self, entries: Sequence[TokenLogprobs], prompt_token_ids: Sequence[int], vocabulary: Vocabulary | None
    ) -> None:
        self._entries = entries
        self._ids = prompt_token_ids
        self._vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self._entries) + 1

    @overload
    def __getitem__(self, index: int) -> PositionLogprobs | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[PositionLogprobs | None]: ...
    def __getitem__(self, index: int | slice) -> PositionLogprobs | list[PositionLogprobs | None] | None:
        if isinstance(index, slice):
            return [self._position(place) for place in range(len(self))[index]]
        return self._position(range(len(self))[index])

    def __iter__(self) -> Iterator[PositionLogprobs | None]:
        return map(self._position, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | SpelledPrompt) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[PositionLogprobs | None]]]:
        return list, (list(self),)  # a tokenizer does not travel

    def _position(self, place: int) -> PositionLogprobs | None:
        if place == 0:
            return None
        context = self._ids[max(0, place - 4) : place]
        return position_logprobs(self._entries[place - 1], self._vocabulary, context)
