"""What a random model at temperature 1 says under a constraint is what the constraint describes."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineRequest
from tests.engine.drive import Answer, run
from tests.structured import engines
from tests.structured.engines import ask, text_of
from tests.structured.schemas import recursive_tree, schemas


def texts(engine: Engine, requests: list[EngineRequest]) -> list[tuple[str, Answer]]:
    """Texts of answers that have ended by themselves."""
    answers = run(engine, requests)
    assert {answer.reason for answer in answers.values()} <= {"stop", "length"}
    return [(text_of(answer.tokens), answer) for answer in answers.values() if answer.reason == "stop"]


def check_json(text: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(schemas(), min_size=8, max_size=8), st.integers(0, 2**32))
def test_answers_under_a_schema_are_valid(built: Engine, some: list[dict[str, Any]], seed: int) -> None:
    requests = [
        ask(str(index), seed=seed + index, structured_outputs={"json": schema}, max_tokens=120)
        for index, schema in enumerate(some)
    ]
    engine = engines.another(built, depth=1 + seed % 3)
    compiles = engine.compiles()  # of the whole process: another test may have built an engine since this one
    answers = run(engine, requests)
    for index, schema in enumerate(some):
        answer = answers[str(index)]
        if answer.last is not None and answer.last.refused:
            assert "cannot be used" in (answer.last.error or "")  # no number fits, a pattern beside a length, ...
            continue
        assert answer.reason in ("stop", "length"), (schema, answer.last)
        if answer.reason == "stop":
            check_json(text_of(answer.tokens), schema)
    assert not engine.grammars
    assert engine.stats().compiles_after_ready == compiles


def test_a_schema_that_refers_to_itself(engine: Engine) -> None:
    schema = recursive_tree()
    requests = [ask(str(seed), seed=seed, structured_outputs={"json": schema}) for seed in range(16)]
    done = texts(engine, requests)
    assert done
    for text, _ in done:
        check_json(text, schema)


def test_json_objects(engine: Engine) -> None:
    outputs = {"json_object": True, "disable_any_whitespace": True}
    done = texts(engine, [ask(str(seed), seed=seed, structured_outputs=outputs, max_tokens=100) for seed in range(16)])
    assert done
    for text, _ in done:
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "regex", ["[a-f]{3,9}x", "(ab|cd)+", "hello( world)?", "[你好]{2}🙂", "\\d{1,3}(\\.\\d{1,3}){3}"]
)
def test_expressions_match_in_full(engine: Engine, regex: str, temperature: float) -> None:
    requests = [
        ask(str(seed), seed=seed, temperature=temperature, structured_outputs={"regex": regex}, max_tokens=60)
        for seed in range(4)
    ]
    done = texts(engine, requests)
    assert done
    for text, _ in done:
        assert re.fullmatch(regex, text), text


def test_choices_are_members_and_end_without_an_end_token(engine: Engine) -> None:
    choice = ["yes", "no", 'per"haps\\ 🙂', "yes, but\nno"]
    requests = [ask(str(seed), seed=seed, structured_outputs={"choice": choice}) for seed in range(16)]
    done = texts(engine, requests)
    assert len(done) == 16
    assert {text for text, _ in done} <= set(choice)
    assert len({text for text, _ in done}) > 1
    for text, answer in done:
        assert answer.tokens[-1] != engines.END_TOKEN or text == "yes"  # which could have gone on


def test_tags_in_free_text(engine: Engine) -> None:
    tag = {"begin": "<", "schema": {"type": "object", "properties": {}, "additionalProperties": False}, "end": ">"}
    outputs = {"structural_tag": {"type": "structural_tag", "structures": [tag], "triggers": ["<"]}}
    requests = [ask(str(seed), seed=seed, structured_outputs=outputs, max_tokens=200) for seed in range(16)]
    seen = 0
    for answer in run(engine, requests).values():
        text = text_of(answer.tokens)
        for part in re.split("<", text)[1:]:
            inside, closed, _ = part.partition(">")
            if closed:
                assert json.loads(inside) == {}
                seen += 1
    assert seen
