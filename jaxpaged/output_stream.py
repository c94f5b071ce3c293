"""What a consumer waits on: the outputs of its requests, in bundles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from jaxpaged.errors import JaxPagedError
from jaxpaged.outputs import RequestOutput


class OutputStream:
    """The outputs of one or several requests, handed over in bundles: whatever has come since the last take().

    Closing it before its end aborts what still runs. One consumer.
    """

    __slots__ = ("_abort", "_error", "_outputs", "_unfinished", "_waiter")

    def __init__(self, request_ids: Sequence[str], abort: Callable[[Sequence[str]], None]) -> None:
        self._unfinished = set(request_ids)
        self._abort = abort
        self._outputs: list[RequestOutput] = []
        self._error: JaxPagedError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: RequestOutput) -> None:
        """Called by AsyncLLM only, as is fail()."""
        self._outputs.append(output)
        if output.finished:
            self._unfinished.discard(output.request_id)
        self._wake()

    def fail(self, error: JaxPagedError) -> None:
        """End the stream: what has come is still given out, then take() raises `error`."""
        self._error = self._error or error
        left, self._unfinished = self._unfinished, set()
        self._abort(sorted(left))
        self._wake()

    async def take(self) -> list[RequestOutput]:
        """At least one output, waiting for it; an empty list at the end. Raises what ended the stream early."""
        while not self._outputs:
            if self._error is not None:
                raise self._error
            if not self._unfinished:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        outputs, self._outputs = self._outputs, []
        return outputs

    def close(self) -> None:
        """Abort what still runs; a take() that waits returns an empty list."""
        left, self._unfinished = self._unfinished, set()
        if left:
            self._abort(sorted(left))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
