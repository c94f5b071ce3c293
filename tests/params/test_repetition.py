"""repetition_detection: what ends an answer, where, and what the field may hold."""

from __future__ import annotations

import random
import re

import pytest

from jaxpaged.errors import RequestError
from jaxpaged.params.repetition import RepetitionWatch
from jaxpaged.sampling_params import SamplingParams
from tests.fake_engine import FakeEngine
from tests.server.harness import client

SETTINGS = {"max_pattern_size": 3, "min_pattern_size": 2, "min_count": 3}


def first(tokens: list[int], settings: dict[str, int], pieces: int = 1) -> int | None:
    watch = RepetitionWatch(settings)
    for start in range(0, len(tokens), pieces):
        found = watch.take(tokens[start : start + pieces])
        if found is not None:
            return start + found
    return None


def slow(tokens: list[int], settings: dict[str, int]) -> int | None:
    """The same by its definition."""
    count = settings["min_count"]
    for end in range(1, len(tokens) + 1):
        for size in range(settings["min_pattern_size"], settings["max_pattern_size"] + 1):
            tail = tokens[max(0, end - size * count) : end]
            if len(tail) == size * count and tail == tail[:size] * count:
                return end
    return None


@pytest.mark.parametrize("pieces", [1, 4])
def test_it_is_found_where_the_definition_finds_it(pieces: int) -> None:
    draw = random.Random(7)
    found = 0
    for _ in range(300):
        tokens = [draw.randrange(2) for _ in range(40)]
        settings = {"min_pattern_size": draw.randrange(1, 4), "min_count": draw.randrange(2, 5)}
        settings["max_pattern_size"] = settings["min_pattern_size"] + draw.randrange(3)
        assert first(tokens, settings, pieces) == slow(tokens, settings)
        found += slow(tokens, settings) is not None
    assert found > 50


def test_examples() -> None:
    assert first([1, 2, 9, 9, 9, 9, 9, 9], SETTINGS) == 8
    assert first([1, 2, 3] * 3, SETTINGS) == 9
    assert first([1, 2, 3, 4] * 5, SETTINGS) is None


@pytest.mark.parametrize(
    "value",
    [
        {"max_pattern_size": 3}, {"max_pattern_size": 3, "min_count": 1}, {"max_pattern_size": -1, "min_count": 2},
        {"max_pattern_size": 2, "min_pattern_size": 3, "min_count": 2}, {"max_pattern_size": 257, "min_count": 2},
        {"max_pattern_size": 200, "min_count": 100}, {"size": 3}, {"max_pattern_size": "3", "min_count": 2}, 3, "x",
        [1], {"max_pattern_size": 2**40, "min_count": 2}, {"max_pattern_size": 1.5, "min_count": 2},
    ],
)  # fmt: skip
def test_mistakes_name_the_field(value: object) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingParams(repetition_detection=value)
    assert caught.value.param == "repetition_detection"


def test_nothing_and_defaults() -> None:
    assert SamplingParams(repetition_detection={"max_pattern_size": 0}).repetition_detection is None
    given = {"max_pattern_size": 3, "min_count": 2}
    assert SamplingParams(repetition_detection=given).repetition_detection == {**given, "min_pattern_size": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_ends_where_it_repeats_itself(stream: bool) -> None:
    engine = FakeEngine()  # which says the prompt over and over
    body = {"prompt": [5, 6], "max_tokens": 100, "repetition_detection": SETTINGS, "return_token_ids": True}
    async with client(engine) as http:
        answer = await http.post("/v1/completions", json={**body, "stream": stream})
        if not stream:
            (choice,) = answer.json()["choices"]
            assert (choice["finish_reason"], choice["stop_reason"]) == ("repetition", "repetition_detected")
            assert choice["token_ids"] == [5, 6] * 3
        assert '"finish_reason":"repetition"' in answer.text
        assert re.search(r'finished_reason="repetition"[^}]*} 1.0', (await http.get("/metrics")).text)
    assert not engine.has_work()
    assert engine.steps < 100
