"""StructuredOutputsParams: one constraint at a time, within limits, and the bad inputs of the reliability table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from jaxpaged import RequestError, SamplingParams, StructuredOutputsParams
from jaxpaged.structured.checker import GrammarChecker
from tests.structured.bad import BAD


def test_a_mapping_becomes_the_dataclass_and_crosses_to_another_process() -> None:
    params = SamplingParams(structured_outputs={"json": {"type": "object"}, "regex": None})  # type: ignore[arg-type]
    assert params.structured_outputs == StructuredOutputsParams(json={"type": "object"})
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams)
    assert sent == params
    assert "structured_outputs=StructuredOutputsParams(json=" in repr(params)


@pytest.mark.parametrize("value", [{}, {"json_object": False}, {"regex": None}, {"regexp": "a"}, "json", 3, {1: 2}])
def test_what_names_no_constraint_is_refused(value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingParams(structured_outputs=value)
    assert caught.value.param == "structured_outputs"


@pytest.fixture(scope="module")
def checker() -> Iterator[GrammarChecker]:
    checker = GrammarChecker()
    yield checker
    checker.close()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_time(checker: GrammarChecker, name: str) -> None:
    began = time.process_time()
    with pytest.raises(RequestError) as caught:
        checker.check(SamplingParams(structured_outputs=StructuredOutputsParams(**BAD[name])))
    assert time.process_time() - began < 5
    assert caught.value.param == "structured_outputs"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("regex", ["(a+)+b", "(x{1,1000}){1,1000}", "(.*a.{1000}){50}", "[ab]*a[ab]{18}[ab]*b[ab]{18}"])
def test_expressions_that_are_dear_to_backtrack_are_not_dear_here(checker: GrammarChecker, regex: str) -> None:
    params = StructuredOutputsParams(regex=regex)
    checker.check(SamplingParams(structured_outputs=params))
    assert params._cost.seconds < 2


def test_what_takes_too_long_is_refused() -> None:
    checker = GrammarChecker(seconds=0.0)
    large = StructuredOutputsParams(choice=[f"item {index}" for index in range(5000)])
    with pytest.raises(RequestError, match="more than 0 seconds"):
        checker.check(SamplingParams(structured_outputs=large))
    checker.close()


def test_errors_blame_the_field_that_was_sent(checker: GrammarChecker) -> None:
    params = StructuredOutputsParams.of_fields({"regex": "["}, "guided_regex")
    with pytest.raises(RequestError, match="unclosed character class") as caught:
        checker.check(SamplingParams(structured_outputs=params))
    assert caught.value.param == "guided_regex"
