"""Cache groups: layers with a window have a page table of their own and let go of pages behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of
from tests.engine.drive import ask, preemptions, rescheduled, run
from tests.engine.poison import poison
from tests.models.case import LONGEST, VOCAB, WINDOW, write_checkpoint
from tests.models.cases import CASE

PAGE = 8
CHUNK = 8
LENGTHS = (1, 8, 15, 16, 17, 31, 40, 90)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers with a window of 16, and a global one among them."""
    directory = tmp_path_factory.mktemp("gemma")
    write_checkpoint(CASE["gemma3"], directory)
    return directory


@pytest.fixture(scope="module")
def oracle(gemma: Path) -> Oracle:
    return oracle_of(gemma, LONGEST)


@pytest.fixture(scope="module")
def engine(gemma: Path) -> Engine:
    return tiny.build(gemma, tiny.GREEDY, block_size=PAGE, max_num_batched_tokens=CHUNK)


def prompt(length: int) -> list[int]:
    return [(7 * i * i + 3 * length) % VOCAB for i in range(length)]


def check_all(engine: Engine, oracle: Oracle, each_step: Callable[[int], None] | None = None) -> None:
    answers = run(engine, [ask(str(n), prompt(n), max_tokens=36) for n in LENGTHS], each_step)
    for n in LENGTHS:
        oracle.assert_greedy(prompt(n), answers[str(n)].tokens)


def test_there_is_a_group_for_each_kind_of_layer(engine: Engine) -> None:
    groups = engine.runner.pool.geometry.groups
    assert [(getattr(group.kind, "window", None), group.layers) for group in groups] == [
        (None, (2,)),
        (WINDOW, (0, 1, 3)),
    ]
    assert len(engine.runner.pool.arrays) == 2


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_pages_behind_the_window_are_let_go(engine: Engine, oracle: Oracle, depth: int) -> None:
    view = rescheduled(engine, depth=depth)
    (shard,) = view.scheduler.shards
    rows, most = shard.rows, {True: 0, False: 0}

    def note(_: int) -> None:
        """A decoding row may not have let go yet of what its last plan saw: it does so as it is planned."""
        for row in np.flatnonzero(rows.active).tolist():
            decoding = bool(rows.computed[row] >= rows.prompt_len[row] + 1)
            held = int(rows.end_page[1][row] - rows.first_page[1][row])
            most[decoding] = max(most[decoding], held)
            assert int(rows.first_page[0][row]) == 0

    check_all(view, oracle, note)
    assert most[True] == -(-WINDOW // PAGE) + 1
    assert most[False] <= -(-(WINDOW - 1 + CHUNK) // PAGE) + 1


@pytest.mark.parametrize("caching", [False, True])
def test_with_few_pages(engine: Engine, oracle: Oracle, caching: bool) -> None:
    tight = rescheduled(engine, pages=20, caching=caching)
    check_all(tight, oracle)
    assert preemptions(tight) > 0


def test_prefix_hits_need_the_window_only(engine: Engine, oracle: Oracle) -> None:
    view = rescheduled(engine)
    check_all(view, oracle)
    before = view.stats().prefix_cache_hits
    check_all(view, oracle)
    assert view.stats().prefix_cache_hits > before


@pytest.mark.parametrize("value", [np.nan, 1e4])
def test_garbage_behind_the_window_changes_nothing(engine: Engine, oracle: Oracle, value: float) -> None:
    view = rescheduled(engine, depth=1)
    check_all(view, oracle, lambda _: poison(view, value))
