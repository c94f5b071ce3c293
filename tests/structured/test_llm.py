"""Structured output as Python users ask for it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from jaxpaged import LLM, BeamSearchParams, RequestError, SamplingParams, StructuredOutputsParams
from jaxpaged.engine.engine import Engine
from jaxpaged.frontend.model_files import load_front_end
from tests.engine import tiny

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Grace"]}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def llm(engine: Engine, model: Path) -> LLM:
    config = tiny.engine_config(model, max_num_seqs=16, max_num_batched_tokens=64)
    config = replace(config, model=replace(config.model, skip_tokenizer_init=False))
    return LLM.from_engine(engine, load_front_end(config.model), config)


def test_generate_with_a_schema_and_several_samples(llm: LLM) -> None:
    wanted = StructuredOutputsParams(json=SCHEMA)
    params = SamplingParams(n=3, temperature=1.0, seed=7, max_tokens=200, structured_outputs=wanted)
    (output,) = llm.generate("hello", params, use_tqdm=False)
    ended = [one for one in output.outputs if one.finish_reason == "stop"]
    assert ended
    for one in ended:
        answer = json.loads(one.text)
        assert answer["name"] in ("Ada", "Grace")
        assert 1 <= answer["age"] <= 99


def test_chat_with_a_choice_beside_a_free_one(llm: LLM) -> None:
    choice = SamplingParams(max_tokens=30, structured_outputs=StructuredOutputsParams(choice=["yes", "no"]))
    free = SamplingParams(max_tokens=5, temperature=0)
    message = [{"role": "user", "content": "hello"}]
    constrained, plain = llm.chat([message, message], [choice, free], use_tqdm=False)
    assert constrained.outputs[0].text in ("yes", "no")
    assert constrained.outputs[0].finish_reason == "stop"
    assert len(plain.outputs[0].token_ids) == 5


def test_many_prompts_more_than_the_queue_takes(llm: LLM) -> None:
    llm.engine.scheduler.queue.capacity = 4
    params = [
        SamplingParams(max_tokens=20, seed=index, structured_outputs=StructuredOutputsParams(regex=f"{index}[ab]{{3}}"))
        for index in range(40)
    ]
    outputs = llm.generate(["hello"] * 40, params, use_tqdm=False)
    for index, output in enumerate(outputs):
        assert re.fullmatch(f"{index}[ab]{{3}}", output.outputs[0].text)


def test_a_bad_grammar_is_an_error_before_anything_runs(llm: LLM) -> None:
    good = SamplingParams(structured_outputs=StructuredOutputsParams(regex="a"))
    bad = SamplingParams(structured_outputs=StructuredOutputsParams(regex="["))
    steps = llm.engine.scheduler.stats().num_steps
    with pytest.raises(RequestError, match="unclosed character class"):
        llm.generate(["hello", "hello"], [good, bad], use_tqdm=False)
    assert llm.engine.scheduler.stats().num_steps == steps
    assert not llm.engine.has_work()


def test_a_beam_search_takes_none(llm: LLM) -> None:
    outputs = StructuredOutputsParams(regex="a")
    with pytest.raises(RequestError, match="structured_outputs"):
        llm.beam_search("hello", BeamSearchParams(beam_width=2, max_tokens=4, structured_outputs=outputs))  # type: ignore[arg-type]
