"""What may stand after a flag."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from jaxpaged.arguments.values import (
    json_object,
    not_negative,
    number,
    positive,
    positive_seconds,
    rate,
    seconds_or_none,
)


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (number, "nan"),
        (number, "-inf"),
        (number, "x"),
        (positive_seconds, "0"),
        (positive_seconds, "inf"),
        (seconds_or_none, "-1"),
        (seconds_or_none, "nan"),
        (positive, "0"),
        (not_negative, "-1"),
        (rate, "-1"),
        (rate, "nan"),
        (json_object, "[1]"),
        (json_object, "{"),
        (json_object, "[" * 100000),
        (positive, "1e999k"),
    ],
)
def test_what_makes_no_sense_is_refused(convert: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        convert(text)


def test_what_makes_sense() -> None:
    assert (number("-1.5"), positive_seconds("0.5"), seconds_or_none("0"), positive("1k")) == (-1.5, 0.5, 0.0, 1000)
    assert (rate("inf"), rate("2.5")) == (0.0, 2.5)
    assert json_object('{"a": [1]}') == {"a": [1]}
