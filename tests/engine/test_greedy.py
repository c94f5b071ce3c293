"""Greedy tokens equal those of a plain forward over the whole sequence, for any length, chunk and page size."""

from pathlib import Path

import pytest

from jaxpaged.engine.engine import Engine
from tests.engine import tiny
from tests.engine.dense import Oracle
from tests.engine.drive import ask, rescheduled, run
from tests.engine.tiny import VOCAB

# Around pages of 16 and 32, chunks of 16 and 32, and the end of the context.
LENGTHS = (1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 160, 176, 184, 191)


def prompts() -> list[list[int]]:
    return [[(7 * i * i + 3 * i + n) % VOCAB for i in range(n)] for n in LENGTHS]


def check_all(engine: Engine, oracle: Oracle) -> None:
    answers = run(engine, [ask(str(len(prompt)), prompt, max_tokens=20) for prompt in prompts()])
    for prompt in prompts():
        answer = answers[str(len(prompt))]
        assert len(answer.tokens) == min(20, tiny.CONTEXT - len(prompt))
        assert answer.reason == "length"
        oracle.assert_greedy(prompt, answer.tokens)


@pytest.mark.parametrize(("chunk", "depth"), [(16, 1), (16, 3), (27, 2), (64, 1), (64, 3)])
def test_chunks_and_plans_in_flight(engine: Engine, oracle: Oracle, chunk: int, depth: int) -> None:
    check_all(rescheduled(engine, max_num_batched_tokens=chunk, depth=depth), oracle)


def test_pages_of_32(llama: Path, oracle: Oracle) -> None:
    check_all(tiny.build(llama, tiny.GREEDY, block_size=32, max_num_batched_tokens=16), oracle)


def test_a_stack_of_layers_in_a_scan(llama: Path, oracle: Oracle) -> None:
    """The loop of TPUs, while a CPU's default is a switch."""
    check_all(tiny.build(llama, tiny.GREEDY, layer_loop="scan", max_num_batched_tokens=16, max_num_seqs=16), oracle)
