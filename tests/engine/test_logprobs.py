"""Log probabilities equal log_softmax of a plain forward, for prompts in chunks and for generated tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import TokenLogprobs
from tests.engine.dense import Oracle
from tests.engine.drive import ask, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import number

TOLERANCE = 1e-4
PROMPTS = [[(3 * i + 7 * n) % VOCAB for i in range(n)] for n in (1, 2, 9, 16, 17, 40, 65)]


def assert_entry(entry: TokenLogprobs, row: np.ndarray, token: int, top: int) -> None:
    """`row`: float64 [vocab], the reference."""
    assert entry.token_id == token
    assert entry.logprob == pytest.approx(row[token], abs=TOLERANCE)
    assert entry.rank == 1 + int((row > row[token]).sum())
    assert len(entry.top_ids) == len(entry.top_logprobs) == top
    assert entry.top_ids == np.argsort(-row, kind="stable")[:top].tolist()
    np.testing.assert_allclose(entry.top_logprobs, row[entry.top_ids], atol=TOLERANCE)


def assert_entries(entries: Sequence[TokenLogprobs], rows: np.ndarray, tokens: Sequence[int], top: int) -> None:
    for entry, row, token in zip(entries, rows, tokens, strict=True):
        assert_entry(entry, row, token, top)


@pytest.mark.parametrize("chunk", [16, 21, 64])
def test_prompts_are_scored_across_chunks(engine: Engine, oracle: Oracle, chunk: int) -> None:
    requests = [ask(str(i), prompt, prompt_logprobs=i % 4) for i, prompt in enumerate(PROMPTS)]
    answers = run(rescheduled(engine, max_num_batched_tokens=chunk), requests)
    for i, prompt in enumerate(PROMPTS):
        assert_entries(answers[str(i)].prompt_logprobs, oracle.log_softmax(prompt)[:-1], prompt[1:], i % 4)


@pytest.mark.parametrize("params", [{}, {"temperature": 1.3, "seed": 5}, {"temperature": 0.8, "seed": 6, "top_k": 9}])
def test_generated_tokens_are_scored(engine: Engine, oracle: Oracle, params: dict[str, float]) -> None:
    """Raw log probabilities: before temperature and truncation."""
    requests = [ask(str(i), prompt, logprobs=i % 6, max_tokens=12, **params) for i, prompt in enumerate(PROMPTS)]
    answers = run(rescheduled(engine), requests)
    for i, prompt in enumerate(PROMPTS):
        answer = answers[str(i)]
        rows = oracle.log_softmax([*prompt, *answer.tokens])[len(prompt) - 1 : -1]
        assert_entries(answer.logprobs, rows, answer.tokens, i % 6)


@pytest.mark.parametrize("logprobs", [None, 0, 2, 5])
def test_named_tokens_are_scored_in_the_order_given(engine: Engine, oracle: Oracle, logprobs: int | None) -> None:
    wanted = [130, 5, 77]
    asked = ask("0", PROMPTS[4], logprob_token_ids=wanted, logprobs=logprobs)
    answer = run(rescheduled(engine), [asked])["0"]
    rows = oracle.log_softmax([*PROMPTS[4], *answer.tokens])[len(PROMPTS[4]) - 1 : -1]
    for entry, row in zip(answer.logprobs, rows, strict=True):
        assert entry.top_ids == wanted
        np.testing.assert_allclose(entry.top_logprobs, row[wanted], atol=TOLERANCE)


def test_who_asks_for_nothing_gets_nothing(engine: Engine) -> None:
    answers = run(
        rescheduled(engine), [ask("scored", [1, 2, 3], logprobs=2, prompt_logprobs=1), ask("plain", [1, 2, 3])]
    )
    assert answers["plain"].logprobs == answers["plain"].prompt_logprobs == []
    assert answers["plain"].tokens == answers["scored"].tokens


def test_a_request_of_the_same_id_inherits_nothing_from_an_aborted_one(engine: Engine, oracle: Oracle) -> None:
    busy = rescheduled(engine, max_num_seqs=8, max_num_batched_tokens=8, depth=3)
    long, short = [(11 * i) % VOCAB for i in range(90)], [9, 8, 7, 6, 5]
    busy.add(ask("again", long, prompt_logprobs=1))
    for _ in range(4):
        busy.step()
    busy.abort([number("again")])
    answer = run(busy, [ask("again", short, prompt_logprobs=1)])["again"]
    assert_entries(answer.prompt_logprobs, oracle.log_softmax(short)[:-1], short[1:], 1)
