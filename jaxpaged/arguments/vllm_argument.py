"""How an argument of vLLM that has no setting here is taken: in silence, with a log line, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class VllmArgument(NamedTuple):
    """`same`: values that say what is so anyway. `why`: what happens instead, or why another cannot be had.

    `is_hint` says of any other value whether it can be ignored without changing an answer.
    """

    same: tuple[Any, ...]
    why: str
    is_hint: Callable[[Any], bool] = lambda value: False


def hint(*same: Any, why: str) -> VllmArgument:
    """Every value can be ignored."""
    return VllmArgument(same, why, lambda value: True)


def refused(*same: Any, why: str) -> VllmArgument:
    """Only what is so anyway can be had."""
    return VllmArgument(same, why)


def refused_but(hints: tuple[Any, ...], *same: Any, why: str) -> VllmArgument:
    """These values, too, can be ignored."""
    return VllmArgument(same, why, lambda value: value in hints)


def refused_unless_idle(asking: Mapping[str, tuple[Any, ...]], *, why: str) -> VllmArgument:
    """A JSON object that asks for nothing: each key of `asking` is absent or has one of its idle values."""

    def is_idle(value: Any) -> bool:
        return isinstance(value, Mapping) and all(value.get(key) in idle for key, idle in asking.items())

    return VllmArgument((None, {}, "null"), why, is_idle)
