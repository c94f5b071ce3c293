"""Holders of pages need not be requests, and the content of pages can leave the device and come back."""

from __future__ import annotations

import numpy as np

from jaxpaged.engine.engine import Engine
from tests.engine.drive import Answer, ask, assert_idle, collect, rescheduled, run
from tests.engine.tiny import VOCAB
from tests.names import number

PROMPT = [(11 * i + 2) % VOCAB for i in range(40)]


def pages_of(engine: Engine, name: str) -> np.ndarray:
    """The full pages of a running request."""
    (shard,) = engine.scheduler.shards
    row = engine.scheduler.requests[number(name)].row
    return shard.rows.tables[0][row, : int(shard.rows.computed[row]) // shard.page_size].copy()


def until_decoding(engine: Engine, name: str) -> Answer:
    answer = Answer()
    while not answer.tokens:
        for output in engine.step():
            assert output.request_id == number(name)
            answer.take(output)
    return answer


def test_held_pages_outlive_their_request_and_stay_as_they_are(engine: Engine) -> None:
    view = rescheduled(engine, pages=14)
    view.add(ask("a", PROMPT, max_tokens=30))
    until_decoding(view, "a")
    held = pages_of(view, "a")
    assert len(held) == 2
    view.scheduler.hold("pinned", number("a"))
    view.abort([number("a")])
    view.drain()
    (allocator,) = view.scheduler.shards[0].allocators
    content = view.runner.pool.read(0, held)
    assert allocator.num_held == 2
    for i in range(4):  # enough to take every other page, several times
        view.add(ask(f"b{i}", [(3 * j + i) % VOCAB for j in range(90)], max_tokens=40))
    while view.has_work():
        view.step()
        view.scheduler.check()
    assert allocator.num_held == 2
    np.testing.assert_array_equal(view.runner.pool.read(0, held), content)
    view.scheduler.release_hold("pinned")
    view.scheduler.check()
    assert_idle(view)


def test_pages_written_back_serve_a_prefix_hit(engine: Engine) -> None:
    """As if they had been offloaded: read, overwritten on the device, written back."""
    view = rescheduled(engine)
    view.add(ask("a", PROMPT, max_tokens=30))
    answer = until_decoding(view, "a")
    pages = pages_of(view, "a")
    collect(view, {"a": answer})
    content = view.runner.pool.read(0, pages)
    view.runner.pool = view.runner.pool.write(0, pages, np.full_like(content, np.nan))
    spoiled = run(view, [ask("spoiled", PROMPT)])["spoiled"]
    assert spoiled.reason == "error"  # the hit is real
    view.runner.pool = view.runner.pool.write(0, pages, content)
    hit = run(view, [ask("hit", PROMPT)])["hit"]
    assert hit.last is not None
    assert hit.last.num_cached_tokens == 32
    assert hit.content == run(rescheduled(engine), [ask("hit", PROMPT)])["hit"].content
