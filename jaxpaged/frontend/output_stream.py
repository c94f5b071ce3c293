"""What a consumer waits on: the outputs of its requests, in bundles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import reduce

from jaxpaged.errors import JaxPagedError, RequestError
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import RequestOutputKind

MOST_OUTPUTS = 256  # that wait for a slow consumer before they are joined
MOST_TOKENS = 250_000  # that wait for it, each of the alternatives of a token counted, before it is given up


class OutputStream:
    """The outputs of one or several requests, handed over in bundles: whatever has come since the last take().

    Closing it before its end aborts what still runs. One consumer. When that is slow, outputs of the same request are
    joined: `deltas` says that each brings only what is new. So a bundle holds MOST_OUTPUTS outputs, or one a request,
    and one that would hold more than MOST_TOKENS ends the stream.
    """

    __slots__ = ("_abort", "_deltas", "_error", "_limit", "_outputs", "_unfinished", "_waiter")

    def __init__(
        self, request_ids: Sequence[str], abort: Callable[[Sequence[str]], None], *, deltas: bool = True
    ) -> None:
        self._deltas = deltas
        self._limit = MOST_OUTPUTS + len(request_ids)
        self._unfinished = set(request_ids)
        self._abort = abort
        self._outputs: list[RequestOutput] = []
        self._error: JaxPagedError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: RequestOutput) -> None:
        """Called by AsyncLLM only, as is fail()."""
        self._outputs.append(output)
        if len(self._outputs) > self._limit:
            self._outputs = _joined(self._outputs, deltas=self._deltas)
            if self._deltas and _num_tokens(self._outputs) > MOST_TOKENS:
                self._outputs = []
                self.fail(RequestError("The answer is read too slowly; read it faster, or ask for less at a time."))
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

    async def each(self, kind: RequestOutputKind) -> AsyncIterator[RequestOutput]:
        """The outputs one by one, of cumulative ones the latest of a bundle.

        Leaving the iteration closes the stream.
        """
        try:
            while outputs := await self.take():
                for output in outputs[-1:] if kind is RequestOutputKind.CUMULATIVE else outputs:
                    yield output
        finally:
            self.close()

    @property
    def is_running(self) -> bool:
        """Whether a request of it has not ended."""
        return bool(self._unfinished)

    def close(self) -> None:
        """Abort what still runs; a take() that waits returns an empty list."""
        left, self._unfinished = self._unfinished, set()
        if left:
            self._abort(sorted(left))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _joined(outputs: Sequence[RequestOutput], *, deltas: bool) -> list[RequestOutput]:
    """One output for each request, in the order of the first ones."""
    by_request: dict[str, list[RequestOutput]] = {}
    for output in outputs:
        by_request.setdefault(output.request_id, []).append(output)
    for first, *later in by_request.values():
        if later:  # the first one may be long by now: it is copied once
            first.add(reduce(lambda whole, output: _plus(whole, output, deltas), later), deltas)
    return [first for first, *_ in by_request.values()]


def _plus(whole: RequestOutput, output: RequestOutput, deltas: bool) -> RequestOutput:
    whole.add(output, deltas)
    return whole


def _num_tokens(outputs: Sequence[RequestOutput]) -> int:
    """Tokens and their alternatives, which are what an output's size depends on."""
    return sum(
        len(one.token_ids) * (1 + (len(one.logprobs[0]) if one.logprobs else 0))
        for output in outputs
        for one in output.outputs
    )
