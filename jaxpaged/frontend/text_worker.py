"""Work on texts beside an event loop: short ones at once, long ones in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

LONGEST_INLINE = 4096  # characters that are tokenized on the event loop: about a millisecond


class TextWorker:
    """One thread, and no short cut past it while it works.

    transformers changes a tokenizer's settings between calls, so no two may run at once.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._long_texts = 0

    async def run[T](self, characters: int, work: Callable[[], T]) -> T:
        """Do `work`, which has to do with so many characters."""
        if characters <= LONGEST_INLINE and not self._long_texts:
            return work()
        self._long_texts += 1
        job = asyncio.get_running_loop().run_in_executor(self._thread, work)
        job.add_done_callback(lambda _: self._long_text_done())
        return await job

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _long_text_done(self) -> None:
        self._long_texts -= 1
