"""The requests of an AsyncLLM between submit() and their last output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import batched

from jaxpaged.engine.messages import EngineOutput, EngineStats
from jaxpaged.errors import JaxPagedError, QueueFullError, RequestError, ShuttingDownError
from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.frontend.metrics import EngineMetrics
from jaxpaged.frontend.observation import RequestObserver
from jaxpaged.frontend.output_processor import OutputProcessor
from jaxpaged.frontend.output_stream import OutputStream
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import RequestOutputKind

OUTPUTS_A_TURN = 64  # of the event loop: where hundreds of streams begin, go on or end together, others are not held up
WAIT_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class _Entry:
    prepared: PreparedRequest
    stream: OutputStream
    observer: RequestObserver | None


class RequestsInFlight:
    """Owner of the table of requests, by the caller's id; at most `capacity` sequences.

    `abort` tells the engine what nobody waits for any more. New requests are refused unless `accepting`.
    """

    def __init__(
        self,
        output: OutputProcessor,
        metrics: EngineMetrics,
        abort: Callable[[Sequence[int]], None],
        capacity: int,
    ) -> None:
        self.capacity = capacity
        self.accepting = True
        self.num_sequences = 0
        self._output = output
        self._metrics = metrics
        self._abort_sequences = abort
        self._entries: dict[str, _Entry] = {}
        self._lost: JaxPagedError | None = None  # why the engine is gone, while it is

    def __len__(self) -> int:
        return len(self._entries)

    async def ended(self) -> None:
        """Wait until the requests that are here now have ended."""
        here = list(self._entries.values())
        while any(self._entries.get(entry.prepared.request_id) is entry for entry in here):
            await asyncio.sleep(WAIT_SECONDS)

    def is_wanted(self, engine_id: int) -> bool:
        """Whether somebody waits for a sequence of the engine."""
        return self._output.request_of(engine_id) is not None

    def is_waiting(self) -> bool:
        """Whether some request has not ended."""
        return bool(self._entries)

    def check_capacity(self, sequences: int) -> None:
        """Raise QueueFullError when there is no room for so many more sequences."""
        if not self.accepting:
            raise ShuttingDownError("The server is shutting down.")
        if self.num_sequences + sequences > self.capacity:
            self._metrics.rejected += 1
            raise QueueFullError("The server's queue is full; try again later.")

    def check_ids(self, request_ids: Sequence[str]) -> None:
        """Raise RequestError for an id that is in use, in the same batch too."""
        for place, request_id in enumerate(request_ids):
            if request_id in self._entries or request_id in request_ids[:place]:
                raise RequestError(f"A request with the id {request_id!r} is in flight.", "request_id")

    def add(self, batch: Sequence[PreparedRequest], observer: RequestObserver | None) -> OutputStream:
        """Requests that go to the engine now, in one stream. check_ids() comes before."""
        deltas = all(prepared.params.output_kind is RequestOutputKind.DELTA for prepared in batch)
        stream = OutputStream([prepared.request_id for prepared in batch], self._give_up, deltas=deltas)
        for prepared in batch:
            self._output.add(prepared)
            self._entries[prepared.request_id] = _Entry(prepared, stream, observer)
            self._metrics.note_added(prepared)
            if observer is not None:
                observer.submitted(prepared)
            self.num_sequences += len(prepared.samples)
        return stream

    async def take(self, outputs: Sequence[EngineOutput], stats: EngineStats, now: float) -> None:
        """What a step has brought goes to the streams, some of it at a time."""
        self._metrics.note_step(outputs, stats, now)
        processed = self._output.process(outputs)
        self._tell_engine(processed.abort)
        # An id may be used again, by another request, before its last output is delivered.
        known = [(self._entries[output.request_id], output) for output in processed.outputs]
        for part in batched(known, OUTPUTS_A_TURN):
            for entry, output in part:
                self._deliver(entry, output, now)
            await asyncio.sleep(0)  # a receive() that has something does not yield by itself

    def abort(self, request_ids: Iterable[str] | None = None, why: str | None = None) -> None:
        """End requests, all of them where none are named; their streams get a last output, `why` its stop_reason."""
        processed = self._output.abort(list(self._entries) if request_ids is None else request_ids, why)
        self._tell_engine(processed.abort)
        for output in processed.outputs:
            self._deliver(self._entries[output.request_id], output, time.monotonic())

    def refuse(self, engine_id: int, error: JaxPagedError) -> None:
        """The engine would not take a sequence: that ends the stream that its request belongs to."""
        request_id = self._output.request_of(engine_id)
        if request_id is not None:  # else given up meanwhile
            self._metrics.rejected += isinstance(error, QueueFullError)
            self._entries[request_id].stream.fail(error)

    def lose(self, error: JaxPagedError) -> None:
        """The engine has died: its requests with it."""
        self._lost = error
        self._metrics.engine_up = 0
        for stream in {id(entry.stream): entry.stream for entry in self._entries.values()}.values():
            stream.fail(error)

    def revive(self) -> None:
        """Another engine runs."""
        self._lost = None
        self._metrics.engine_up = 1
        self._metrics.engine_restarts += 1

    def _tell_engine(self, engine_ids: Sequence[int]) -> None:
        if engine_ids and self._lost is None:
            self._abort_sequences(engine_ids)

    def _deliver(self, entry: _Entry, output: RequestOutput, now: float) -> None:
        if self._entries.get(output.request_id) is not entry:  # aborted since the step came
            return
        if output.finished:
            self._forget(output.request_id, output, now)
        entry.stream.put(output)

    def _give_up(self, request_ids: Sequence[str]) -> None:
        """A stream gives its requests up: nobody wants their last outputs."""
        processed = self._output.abort(request_ids)
        self._tell_engine(processed.abort)
        lost = "abort" if self._lost is None else "error"
        last = {output.request_id: output for output in processed.outputs}
        for request_id in request_ids:
            if request_id in self._entries:
                self._forget(request_id, last.get(request_id), time.monotonic(), lost)

    def _forget(self, request_id: str, output: RequestOutput | None, now: float, lost: str | None = None) -> None:
        """A request has ended; `lost` says why when nobody gets its last output."""
        entry = self._entries.pop(request_id)
        self.num_sequences -= len(entry.prepared.samples)
        self._metrics.note_finished(entry.prepared, None if lost else output, now, lost or "abort")
        if entry.observer is not None:
            entry.observer.finished(entry.prepared, output)
