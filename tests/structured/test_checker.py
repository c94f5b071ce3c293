"""Grammars are tried in processes that can be lost: a slow, dear or deadly one costs its own request only."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from jaxpaged import RequestError, SamplingParams, StructuredOutputsParams
from jaxpaged.errors import QueueFullError
from jaxpaged.params.calls import CallForm, Calls
from jaxpaged.params.thought import Thought
from jaxpaged.structured import checker as checker_module
from jaxpaged.structured import trial as trial_module
from jaxpaged.structured import trial_process, worker
from jaxpaged.structured.byte_vocabulary import ByteVocabulary
from jaxpaged.structured.checker import GrammarChecker

SPECIAL = {"<|call|>": 7, "<|end|>": 900}


@pytest.fixture
def checker() -> Iterator[GrammarChecker]:
    checker = GrammarChecker(ByteVocabulary(SPECIAL, 1000), seconds=0.3)
    yield checker
    checker.close()


def wanted(**fields: Any) -> SamplingParams:
    return SamplingParams(structured_outputs=StructuredOutputsParams(**fields))


def slow(number: int) -> SamplingParams:
    """A legal schema that takes longer than any limit here."""
    names = [f"{index}.{number}" for index in range(8000)]
    half = [{"type": "object", "properties": {name: {} for name in names[index::20]}} for index in range(20)]
    return wanted(json={"type": "array", "prefixItems": half, "minItems": 20})


def test_others_are_served_while_slow_ones_are_tried_in_turn(checker: GrammarChecker) -> None:
    order: list[str] = []

    async def check(name: str, params: SamplingParams) -> None:
        try:
            await checker.check_soon(params)
            order.append(name)
        except RequestError as error:
            assert "more than 0.3 seconds to compile" in str(error)  # noqa: PT017
            order.append("slow")

    async def scenario() -> None:
        attack = [asyncio.create_task(check("", slow(number))) for number in range(3)]
        await asyncio.sleep(0.1)
        for index in range(5):
            await check("moderate", wanted(json={"type": "object", "properties": {f"a{index}": {"type": "string"}}}))
        await asyncio.gather(*attack)

    asyncio.run(scenario())
    assert order[:5] == ["moderate"] * 5
    assert order[5:] == ["slow"] * 3


def test_a_process_that_dies_is_replaced(checker: GrammarChecker, caplog: pytest.LogCaptureFixture) -> None:
    checker.check(wanted(regex="a"))
    (process,) = [one._process for one in checker._quick.processes if one._process is not None]
    os.kill(process.pid, signal.SIGSTOP)

    async def scenario() -> None:
        task = asyncio.create_task(checker.check_soon(wanted(regex="b")))
        await asyncio.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(RequestError, match="could not be compiled"):
            await task

    asyncio.run(scenario())
    assert "has ended the process" in caplog.text
    checker.check(wanted(regex="c"))


def test_a_process_that_has_died_while_it_was_idle_costs_no_request(checker: GrammarChecker) -> None:
    for regex in ("a", "b", "c"):
        checker.check(wanted(regex=regex))
        for one in checker._quick.processes:
            if one._process is not None:
                one._process.kill()
                one._process.wait()


def test_a_process_that_dies_with_what_it_was_sent_unread_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = trial_process.TrialProcess(ByteVocabulary())
    process.start()
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    monkeypatch.setattr(process._process, "poll", lambda: None)  # it dies right after it was looked at
    trial = process.ask(trial_process.message(StructuredOutputsParams(regex="a")), 1.0)
    assert trial is not None
    assert "could not be compiled" in str(trial.refused)
    trial = process.ask(trial_process.message(StructuredOutputsParams(regex="a")), 1.0)
    process.end()
    assert trial is not None
    assert trial.refused is None


def test_where_no_process_can_be_started_grammars_are_refused_until_one_can(
    checker: GrammarChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(trial_process.sys, "executable", "/no/such/python")
        with pytest.raises(RequestError, match="try again later"):
            checker.check(wanted(regex="a"))
    checker.check(wanted(regex="a"))


def test_less_memory_than_is_usual_may_be_allowed() -> None:
    """As in a container that limits it: the process keeps that limit."""
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (3 << 30, 3 << 30)); "
        "from jaxpaged.structured import worker; worker._limit_memory(); print(r.getrlimit(r.RLIMIT_AS))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout == f"({3 << 30}, {3 << 30})\n", found.stderr


def test_what_nobody_waits_for_is_not_tried(checker: GrammarChecker) -> None:
    checker.check(wanted(regex="a"))
    for one in checker._quick.processes:
        one.start()
        assert one._process is not None
        os.kill(one._process.pid, signal.SIGSTOP)

    async def scenario() -> None:
        tasks = [asyncio.create_task(checker.check_soon(wanted(regex=f"b{index}"))) for index in range(9)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert checker._waiting == 0
    assert len(checker._entries) == 1
    for one in checker._quick.processes:
        assert one._process is not None
        os.kill(one._process.pid, signal.SIGCONT)
    checker.check(wanted(regex="b3"))
    assert len(checker._entries) == 2


def test_one_trial_serves_all_who_ask_for_the_same_and_its_cost_is_told(checker: GrammarChecker) -> None:
    asked = [wanted(choice=[f"item {index}" for index in range(2000)]) for _ in range(5)]

    async def scenario() -> None:
        await asyncio.gather(*map(checker.check_soon, asked))

    asyncio.run(scenario())
    costs = {params.structured_outputs and params.structured_outputs._cost for params in asked}
    assert len(costs) == 1
    (cost,) = costs
    assert cost is not None
    assert cost.seconds > 0
    assert cost.bytes > 50_000


def test_what_is_known_and_what_waits_is_bounded(checker: GrammarChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker_module, "MAX_KNOWN", 3)
    for index in range(6):
        checker.check(wanted(regex=f"a{index}"))
    assert len(checker._entries) == 3
    assert not any(entry.message for entry in checker._entries.values())
    monkeypatch.setattr(checker_module, "MAX_WAITING", 1000)
    with pytest.raises(QueueFullError):
        checker.check(wanted(regex="a" * 1000))
    checker.check(wanted(regex="b"))


def test_a_grammar_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = StructuredOutputsParams(choice=[f"item {index}" for index in range(9000)])
    tokenizer = ByteVocabulary().tokenizer()
    allowed = trial_module.try_grammar(dear, tokenizer, {})
    assert allowed.refused is None
    monkeypatch.setattr(trial_module, "MAX_GRAMMAR_BYTES", allowed.cost.bytes // 2)
    refused = trial_module.try_grammar(dear, tokenizer, {}).refused
    assert refused == "choice cannot be used: it takes too much memory; make it simpler."


def test_grammars_may_name_special_tokens(checker: GrammarChecker) -> None:
    checker.check(wanted(grammar='start: <|call|> "x" <|end|>'))
    checker.check(wanted(grammar='start: <[7]> "x" <[900-999]>'))
    for unknown in ("start: <|nope|>", "start: <[1001]>"):
        with pytest.raises(RequestError, match="grammar cannot be used"):
            checker.check(wanted(grammar=unknown))


def test_what_is_tried_is_the_whole_grammar_of_the_request(checker: GrammarChecker) -> None:
    calls = Calls(("f",), (CallForm('{"name": "NAME", "arguments": JSON }'),), parallel=False)
    thought = Thought(("<think>",), ("</think>", "[/T]"), opened=True)
    params = StructuredOutputsParams(regex="a", disable_any_whitespace=True, thought=thought, calls=calls)
    assert worker.read_params(json.loads(trial_process.message(params))) == params
    checker.check(SamplingParams(structured_outputs=params))
