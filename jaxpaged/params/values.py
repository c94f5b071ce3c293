"""Checks of one value by the name of its field. All raise RequestError, whose `param` is that name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from jaxpaged.errors import RequestError
from jaxpaged.params.ranges import FLOAT32_MAX, INT32_MAX, LOGIT_BIAS_BOUND, MAX_LOGIT_BIAS

_SHOWN = 5  # of many mistakes


def integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise RequestError(f"{name} must be an integer, got {shown(value)}.", name)
    number = int(value)
    if not low <= number <= high:
        raise RequestError(f"{name} must be from {low} to {high}, got {shown(number)}.", name)
    return number


def real(name: str, value: object, low: float, high: float, interval: str) -> float:
    """`interval` is what the sentence says; one that begins with "(" leaves `low` out."""
    number = _float(name, value)
    if not low <= number <= high or (number == low and interval.startswith("(")):
        raise RequestError(f"{name} must be in {interval}, got {shown(value)}.", name)
    return number


def _float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RequestError(f"{name} must be a number, got {shown(value)}.", name)
    try:
        return float(value)
    except OverflowError:
        raise RequestError(f"{name} is far too large a number.", name) from None


def boolean(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be True or False, got {shown(value)}.", name)


def shown(value: object) -> str:
    """The value, or its type where it is long: Python refuses to print an integer of 5,000 digits."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return "an integer of more than 64 bits"
    if isinstance(value, (bool, Real, type(None))):
        return str(value)
    return type(value).__name__


def strings(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise RequestError(f"{name} must be a list of strings.", name)
    return list(value)


def token_ids(name: str, value: object, most: int) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise RequestError(f"{name} must be a list of token ids, got {shown(value)}.", name)
    ids = list(value)
    check_count(name, len(ids), most)
    return [integer(name, token, 0, INT32_MAX) for token in ids]


def logit_biases(value: object) -> dict[int, float]:
    """Token id -> bias, clamped to +-100 as in vLLM. JSON's string keys become integers."""
    if not isinstance(value, dict):
        raise RequestError(f"logit_bias must map token ids to numbers, got {shown(value)}.", "logit_bias")
    check_count("logit_bias", len(value), MAX_LOGIT_BIAS)
    biases, bad = {}, []
    for token, bias in value.items():
        if isinstance(token, str) and token.isdecimal() and len(token) <= len(str(INT32_MAX)):
            token = int(token)
        number = real("logit_bias", bias, -FLOAT32_MAX, FLOAT32_MAX, "[-3.4e38, 3.4e38]")
        if isinstance(token, bool) or not isinstance(token, Integral) or not 0 <= int(token) <= INT32_MAX:
            bad.append(repr(token[:20]) if isinstance(token, str) else shown(token))
        else:
            biases[int(token)] = min(LOGIT_BIAS_BOUND, max(-LOGIT_BIAS_BOUND, number))
    if bad:
        which = (
            f"the key {bad[0]}, which is no token id" if len(bad) == 1 else f"keys that are no token ids: {listed(bad)}"
        )
        raise RequestError(f"logit_bias has {which}.", "logit_bias")
    return biases


def listed(items: Sequence[object]) -> str:
    """The first few of them."""
    return ", ".join(map(str, items[:_SHOWN])) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")


def check_characters(name: str, characters: int, most: int) -> None:
    if characters > most:
        raise RequestError(f"{name} has a text of {characters} characters; at most {most} are taken.", name)


def check_count(name: str, count: int, most: int) -> None:
    if count > most:
        raise RequestError(f"{name} holds {count} entries; at most {most} are taken.", name)


def unique[T](items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


def unique_lists(lists: Iterable[list[int]]) -> list[list[int]]:
    return list({tuple(one): one for one in lists}.values())
