"""Beam searches as messages, and what came back for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from tests.engine.drive import Answer, Answers, assert_idle, collect
from tests.names import name_of, number


def search(
    name: str, prompt: Sequence[int], width: int, *, max_tokens: int = 12, eos: Iterable[int] = (), penalty: float = 1.0
) -> EngineRequest:
    """Its answers have the ids NAME.0, NAME.1, ..., and bring the log probabilities of their tokens."""
    params = SamplingParams(max_tokens=max_tokens, logprobs=0)
    return EngineRequest(
        number(f"{name}.0"),
        list(prompt),
        params,
        arrival=0.0,
        eos_token_ids=tuple(eos),
        children=tuple(ChildSample(number(f"{name}.{index}"), params) for index in range(1, width)),
        beam=BeamSearchParams(beam_width=width, max_tokens=max_tokens, length_penalty=penalty),
    )


def expected(messages: Iterable[EngineRequest]) -> Answers:
    return {name_of(one.request_id): Answer() for message in messages for one in (message, *message.children)}


def run_searches(engine: Engine, messages: Sequence[EngineRequest], each_step: Any = None) -> Answers:
    """Run to the end; every page must be free or cached then."""
    for message in messages:
        engine.add(message)
    answers = expected(messages)
    collect(engine, answers, each_step)
    assert_idle(engine)
    return answers


def score(answer: Answer, penalty: float) -> float:
    return sum(position.logprob for position in answer.logprobs) / len(answer.tokens) ** penalty
