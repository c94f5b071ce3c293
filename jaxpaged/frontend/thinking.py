"""The marks around a model's thoughts as its tokenizer spells them, for requests that limit their thoughts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxpaged.config import REASONING_MARKS
from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.params.thinking import Mark, ThinkingLimit
from jaxpaged.sampling_params import SamplingParams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PARAM = "thinking_token_budget"
# what may stand around a mark and be one token with its first or last character
_BEFORE = ("", "x", " ", "\n", "\n\n", ".", ".\n")
_AFTER = ("", "\n", "\n\n")

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """The marks as token ids; see ThinkingLimit."""

    begins: tuple[Mark, ...]
    forced: tuple[Mark, ...]
    ends: tuple[Mark, ...]

    def limit(self, params: SamplingParams, prompt: Sequence[int], *, opened: bool | None) -> ThinkingLimit | None:
        """The limit of a request, None where it could never be reached. Raises RequestError.

        `opened`: whether the answer begins within a thought; None: as the last mark in the prompt says.
        """
        budget = params.thinking_token_budget
        assert budget is not None
        self._check_allowed(params)
        begun, opening = (None, 0) if opened is False else self._begun(prompt)
        begun = 0 if opened and begun is None else begun
        if params.max_tokens is not None and (begun or 0) + params.max_tokens <= budget:
            return None
        return ThinkingLimit(budget, self.begins, self.forced, self.ends, begun, opening)

    def _begun(self, prompt: Sequence[int]) -> tuple[int | None, int]:
        """ThinkingLimit's begun and opening."""
        marks = (*self.begins, *self.ends)
        lasts = {mark[-1] for mark in marks}
        for place in range(len(prompt), 0, -1):
            if prompt[place - 1] in lasts:
                found = [mark for mark in marks if tuple(prompt[max(0, place - len(mark)) : place]) == mark]
                if found:
                    last = max(found, key=len)
                    return (len(prompt) - place, self.begins.index(last)) if last in self.begins else (None, 0)
        return None, 0

    def _check_allowed(self, params: SamplingParams) -> None:
        allowed = params.allowed_token_ids
        missing = [] if allowed is None else [token for end in self.forced for token in end if token not in allowed]
        if missing:
            raise RequestError(
                f"{PARAM} ends a thought with token {missing[0]}, which allowed_token_ids does not hold; add it.", PARAM
            )
        for word in params._bad_words_token_ids or ():
            if any(list(end[at : at + len(word)]) == word for end in set(self.forced) for at in range(len(end))):
                raise RequestError(f"{PARAM} ends a thought with what bad_words forbids; leave one of them out.", PARAM)


def reasoning_marks(
    tokenizer: PreTrainedTokenizerFast | None,
    vocab_size: int,
    config: Mapping[str, Any],
    known: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> ReasoningMarks | None:
    """The marks that reasoning_config names; what it leaves out is `known`: begins, and an end of each.

    None where there are none. Raises ConfigError for what the tokenizer cannot spell.
    """
    start, end = (config.get(name) or "" for name in REASONING_MARKS)
    begins, ends = [start] if start else list(known[0]), list(known[1])
    if end:  # where it closes with a shorter mark, as a sentence and then "</think>", that one ends a thought too
        usual = [*ends, f"{start[0]}/{start[1:]}"] if start else ends
        ends = [end, *dict.fromkeys(mark for mark in usual if mark != end and end.endswith(mark))]
    if tokenizer is None or not begins or not ends:
        return None
    own = not start and not end  # then each begin has an end of its own
    marks = _spelled(dict(zip(begins, ends if own else ends[:1] * len(begins), strict=True)), ends, tokenizer)
    tokens = {token for mark in (*marks.begins, *marks.forced, *marks.ends) for token in mark}
    if tokens and all(marks.forced) and max(tokens) < vocab_size and tokenizer.unk_token_id not in tokens:
        return marks
    if start or end:
        raise ConfigError(
            f"reasoning_config has marks that this tokenizer cannot spell ({begins[0]!r}, {ends[0]!r}); "
            "give them as the model writes them."
        )
    return None


def _spelled(forced: Mapping[str, str], ends: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> ReasoningMarks:
    """`forced`: begin -> the end that is forced after it."""

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    begins = {mark: tuple(encode(end)) for begin, end in forced.items() for mark in _spellings(begin, encode)}
    return ReasoningMarks(tuple(begins), tuple(begins.values()), _all_spellings(ends, encode))


def _all_spellings(marks: Sequence[str], encode: Encode) -> tuple[Mark, ...]:
    return tuple(dict.fromkeys(spelling for mark in marks for spelling in _spellings(mark, encode)))


def _spellings(mark: str, encode: Encode) -> list[Mark]:
    """A mark's token ids, alone and where it is one token with what stands around it; no longer than need be."""
    alone = tuple(encode(mark))
    if len(alone) < 2:
        return [alone] if alone else []
    found = [alone]
    for before in _BEFORE:
        start = tuple(encode(before))
        for after in _AFTER:
            whole = tuple(encode(before + mark + after))
            whole = whole[len(start) :] if whole[: len(start)] == start else whole
            if not any(whole[at : at + len(one)] == one for one in found for at in range(len(whole))):
                found.append(whole)
    return found
