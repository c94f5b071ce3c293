"""What the text after a flag means: numbers with units, JSON, lists of names."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

_MULTIPLES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def integer(text: str) -> int:
    """An integer; 32k is 32,000 and 32K is 32,768, as in vLLM."""
    multiple = _MULTIPLES.get(text[-1:], 1)
    digits = text[:-1] if multiple > 1 else text
    try:
        return int(digits) if multiple == 1 else round(float(digits) * multiple)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer (32768, 32k, 32K)") from None


def positive(text: str) -> int:
    """A flag's value: an integer of 1 or more."""
    value = integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def not_negative(text: str) -> int:
    """A flag's value: an integer of 0 or more."""
    value = integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0")
    return value


def context_length(text: str) -> int | None:
    """An integer; auto (or -1, as in vLLM) leaves the choice to start-up."""
    return None if text in ("auto", "-1") else integer(text)


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def rate(text: str) -> float:
    """Events in a second; 0, and inf as in vLLM, for no pause between them."""
    value = 0.0 if text in ("inf", "infinity") else number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0")
    return value


def positive_seconds(text: str) -> float:
    """A time that is longer than nothing."""
    seconds = seconds_or_none(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def seconds_or_none(text: str) -> float:
    """A time, or 0 for none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def json_list(text: str) -> list[str]:
    """A JSON list of texts, as vLLM takes it, or one text."""
    if not text.startswith("["):
        return [text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    return [str(one) for one in value]


def any_value(text: str) -> Any:
    """Numbers and objects as JSON writes them; everything else is a text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None if text in ("None", "none") else text
