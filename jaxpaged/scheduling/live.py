"""Requests between add() and their end: all by their id, and those that wait in the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jaxpaged.errors import RequestError
from jaxpaged.scheduling.intake import Intake, lead
from jaxpaged.scheduling.pins import Pins
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.shard import Shard
from jaxpaged.scheduling.waiting import WaitingQueue


class LiveRequests:
    """Owner of the table and the queue. A request in the table waits, or is on a row, or waits for its parent."""

    def __init__(
        self, max_queued: int, shards: Sequence[Shard], intake: Intake, pins: Pins, clock: Callable[[], float]
    ) -> None:
        self.table: dict[int, Request] = {}
        self.queue = WaitingQueue(max_queued)
        self._shards = tuple(shards)
        self._intake = intake
        self._pins = pins
        self._clock = clock

    def get(self, request_id: int) -> Request:
        """Raises RequestError for an id that is unknown or has ended."""
        if request_id not in self.table:
            raise RequestError(f"no live request has the id {request_id}.", "request_id")
        return self.table[request_id]

    def check_new(self, request: Request) -> None:
        if request.request_id in self.table:
            raise RequestError(f"a request with id {request.request_id} is running already.", "request_id")

    def add(self, request: Request, children: Sequence[Request]) -> None:
        """Queue a new request; its children are forked from it later. Raises as Scheduler.add() does."""
        self.check_new(request)
        self.queue.check_room()  # before any hashing: refusing must be cheap
        self._intake.accept(request)
        self._pins.check_beside(request)
        if children:
            self._add_children(request, children)
        self.enqueue(request)

    def _add_children(self, parent: Request, children: Sequence[Request]) -> None:
        for child in children:
            self.check_new(child)
        self._intake.accept_children(parent, children)
        for child in children:
            self._pins.check_beside(child)
        now = self._clock()
        for child in children:
            self.note(child, now)

    def enqueue(self, request: Request) -> None:
        self.queue.add(request)
        self.note(request, self._clock())

    def note(self, request: Request, now: float) -> None:
        """A request that waits for its parent, or has a row already, is in the table only."""
        request.events.append(("queued", now))
        self.table[request.request_id] = request

    def enqueue_samples(self, children: Sequence[Request]) -> None:
        """Queue children that have lost their parent, or found no row beside it, behind the first of them."""
        parent, *others = children
        lead(parent, others)
        self.queue.add(parent)

    def put_back(self, requests: Sequence[Request]) -> None:
        """Queue those that have lost their rows."""
        for request in requests:
            for waiting in (request, *(request.children if request.beams is not None else ())):
                self._intake.set_back(waiting, waiting.tokens)
            self.queue.add(request)

    def end(self, request: Request, reason: str, stop_reason: int | str | None) -> None:
        """Take a request off its row, from its parent or out of the queue; its children go on by themselves."""
        del self.table[request.request_id]
        if request.row:
            self._shards[request.shard].vacate(np.array([request.row], np.intp))
        elif request.parent is not None:
            self._shards[request.parent.shard].leave_parent(request)
        else:
            self.queue.remove(request)
        if request.children:
            self.enqueue_samples(request.children)
            request.children = ()
        request.finish_reason, request.stop_reason = reason, stop_reason
        request.events.append(("finished", self._clock()))
