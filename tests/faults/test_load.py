"""F1, F20, F21: a load with disconnects on the real engine, at CI's size. scripts/soak has the full figures."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from live_server import LiveServer, live_server
from soaking.load import Load, references, run_load

MIB = 2**20
# Its server starts with an empty compile cache: a minute of processor time on a CPU without AVX-512.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server("--max-num-seqs", "32", "--max-num-batched-tokens", "32") as running:
        yield running


def seconds_until_idle(server: LiveServer) -> float:
    began = time.monotonic()
    while not server.is_idle():
        assert time.monotonic() - began < 10, "it does not become idle"
        time.sleep(0.02)
    return time.monotonic() - began


async def test_two_thousand_requests_and_forty_disconnects(server: LiveServer) -> None:
    """Everybody who stays gets the answer that he would get alone; who leaves leaves nothing behind."""
    load = Load(requests=1000, leaving=20, bad=20)
    expected = await references(server.port, load)
    first = await run_load(server.port, load, expected)
    assert seconds_until_idle(server) < 1
    descriptors, threads, resident = server.descriptors(), server.threads(), server.resident()
    second = await run_load(server.port, Load(requests=1000, leaving=20, bad=20, seed=1), expected)
    assert seconds_until_idle(server) < 1
    for tally in (first, second):
        assert tally.other == {}
        assert tally.wrong == []
        assert (tally.answered, tally.refused) == (960, 20)
        assert tally.left == 20
    assert server.metric("jaxpaged:compiles_after_ready_total") == 0
    assert server.descriptors() <= descriptors + 5
    assert server.threads() == threads
    for name, size in server.resident().items():
        assert size - resident[name] < 20 * MIB, name
    assert server.get("/health")[0] == 200
    assert [line for line in server.errors if "Traceback" in line] == []
