"""Many jobs, a few at a time, their results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

WINDOW = 8  # results that wait for an earlier one, per job that runs


async def in_order[Job, Result](
    jobs: AsyncIterator[Job], work: Callable[[Job], Coroutine[Any, Any, Result]], concurrency: int
) -> AsyncGenerator[Result]:
    """work(job) for every job, at most `concurrency` at a time; closing it cancels what runs."""
    free = asyncio.Semaphore(concurrency)
    tasks: deque[asyncio.Task[Result]] = deque()
    try:
        async for job in jobs:
            await free.acquire()
            task = asyncio.create_task(work(job))
            task.add_done_callback(lambda _: free.release())
            tasks.append(task)
            while tasks and (tasks[0].done() or len(tasks) >= concurrency * WINDOW):
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
