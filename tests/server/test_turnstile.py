"""Some requests a turn of the event loop, first come, first served."""

from __future__ import annotations

import asyncio

import pytest

from server.http.turnstile import Turnstile

pytestmark = pytest.mark.anyio


async def test_so_many_a_turn_in_their_order() -> None:
    turnstile, passed = Turnstile(3), []

    async def come(number: int) -> None:
        await turnstile.enter()
        passed.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(10)]
    seen = []
    while len(passed) < 10:
        before = len(passed)
        await asyncio.sleep(0)
        seen.append(len(passed) - before)
    assert passed == list(range(10))
    assert max(seen) <= 3
    await asyncio.gather(*tasks)


async def test_one_alone_does_not_wait() -> None:
    turnstile = Turnstile(1)
    entering = turnstile.enter()
    with pytest.raises(StopIteration):
        entering.send(None)


async def test_who_has_gone_takes_no_place() -> None:
    turnstile, passed = Turnstile(1), []

    async def come(number: int) -> None:
        await turnstile.enter()
        passed.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(4)]
    await asyncio.sleep(0)
    for task in tasks[1:3]:
        task.cancel()
    await asyncio.wait_for(tasks[3], 20)
    assert passed == [0, 3]
