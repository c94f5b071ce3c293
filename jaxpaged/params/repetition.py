"""Answers that turn round and round: vLLM's repetition_detection, checked and applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.values import integer

PARAM = "repetition_detection"
MAX_PATTERN = 256  # each size is looked at after every token
MAX_TOKENS = 4096  # of the pattern, all its repetitions together
_FIELDS = ("max_pattern_size", "min_pattern_size", "min_count")


def repetition_detection(value: object) -> dict[str, int] | None:
    """The field as a mapping of its three numbers; None where it asks for nothing. Raises RequestError."""
    if value is None:
        return None
    given: Mapping[str, Any] = value if isinstance(value, Mapping) else _attributes(value)
    unknown = sorted(str(name)[:50] for name in given if name not in _FIELDS)
    if unknown:
        raise RequestError(f"{PARAM} has no field {unknown[0]!r}; it has {', '.join(_FIELDS)}.", PARAM)
    try:
        longest, shortest, count = (integer(name, given.get(name, 0), 0, MAX_TOKENS) for name in _FIELDS)
    except RequestError as error:
        raise RequestError(f"{PARAM}: {error}", PARAM) from error
    if longest == 0 == shortest:
        return None
    if shortest > longest or longest > MAX_PATTERN or count < 2 or longest * count > MAX_TOKENS:
        raise RequestError(
            f"{PARAM} needs min_pattern_size <= max_pattern_size <= {MAX_PATTERN} and min_count >= 2, and their "
            f"product at most {MAX_TOKENS}.",
            PARAM,
        )
    return dict(zip(_FIELDS, (longest, max(1, shortest), count), strict=True))


def _attributes(value: object) -> dict[str, Any]:
    if not all(hasattr(value, name) for name in _FIELDS):
        raise RequestError(f"{PARAM} must be a mapping with {', '.join(_FIELDS)}.", PARAM)
    return {name: getattr(value, name) for name in _FIELDS}


class RepetitionWatch:
    """Follows one answer, token by token."""

    def __init__(self, settings: Mapping[str, int]) -> None:
        self._sizes = range(settings["min_pattern_size"], settings["max_pattern_size"] + 1)
        self._count = settings["min_count"]
        self._kept = settings["max_pattern_size"] * self._count
        self._last: list[int] = []

    def take(self, token_ids: list[int]) -> int | None:
        """After how many of these tokens the answer has repeated itself; None: it has not."""
        for number, token in enumerate(token_ids, 1):
            self._last.append(token)
            last, reach = self._last, len(self._last)
            if any(self._repeats(size) for size in self._sizes if size < reach and last[-1 - size] == token):
                return number
        if len(self._last) > 2 * self._kept:
            del self._last[: -self._kept]
        return None

    def _repeats(self, size: int) -> bool:
        """Whether the last `size` tokens stand there `count` times; the nearest difference ends the search."""
        last, end = self._last, len(self._last)
        if end < size * self._count:
            return False
        return all(last[end - i] == last[end - i - size] for i in range(1, size * (self._count - 1) + 1))
