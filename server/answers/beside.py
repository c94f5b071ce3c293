"""Work on an answer beside the event loop: small ones at once, large ones in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from jaxpaged import RequestOutput

MOST_INLINE = 2_000  # log probabilities that are shown on the event loop: about 5 ms


def num_logprobs(outputs: Iterable[RequestOutput]) -> int:
    """How many there are to show, which is what an answer costs where there are many."""
    return sum(output.num_logprobs() for output in outputs)


async def beside[T](logprobs: int, work: Callable[[], T]) -> T:
    """Do `work`, which shows so many log probabilities: a hundred thousand would hold every other client up."""
    return await asyncio.to_thread(work) if logprobs > MOST_INLINE else work()
