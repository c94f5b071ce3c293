"""Requests that wait for their grammar to be compiled; only then may they be queued."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from jaxpaged.scheduling.request import Request
from jaxpaged.structured.compiler import CompiledGrammar, GrammarCompiler

LONGEST_WAIT = 60.0  # seconds; what it computes was bounded when it was tried, but its thread may get little time


@dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request with its child samples, waiting for its grammar, which is being compiled since `since`."""

    request: Request
    children: Sequence[Request]
    grammar: Future[CompiledGrammar]
    since: float

    @property
    def samples(self) -> tuple[Request, ...]:
        return (self.request, *self.children)


@dataclass(slots=True)
class CompilingRequests:
    """Owner of the requests without a grammar, by the id of the parent sample.

    `done` is called, in a thread, with a request whose grammar is ready or has failed. `seconds` is the longest wait.
    """

    compiler: GrammarCompiler
    done: Callable[[WaitingRequest], None]
    seconds: float = LONGEST_WAIT
    clock: Callable[[], float] = time.monotonic
    _waiting: dict[int, WaitingRequest] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request, children: Sequence[Request]) -> None:
        """Begin to compile a request's grammar."""
        params = request.params.structured_outputs
        assert params is not None
        self._wait(WaitingRequest(request, children, self.compiler.submit(params), self.clock()))

    def add_again(self, waiting: WaitingRequest) -> None:
        """There was no room in the queue for a request whose grammar is ready."""
        self._wait(waiting)

    def take(self, waiting: WaitingRequest) -> bool:
        """Whether a request that is done still waits; it does so no longer."""
        key = waiting.request.request_id
        if self._waiting.get(key) is not waiting:
            return False
        del self._waiting[key]
        return True

    def take_late(self) -> list[WaitingRequest]:
        """Those whose grammar is taking too long, since a thread has begun it; they wait no longer."""
        now = self.clock()
        late = []
        for waiting in self._waiting.values():
            if not waiting.grammar.running():
                waiting.since = now
            elif waiting.since < now - self.seconds:
                late.append(waiting)
        for waiting in late:
            del self._waiting[waiting.request.request_id]
        return late

    def forget(self, request_id: int) -> None:
        """A sample has been aborted. The first of its children takes the place of a parent."""
        for waiting in list(self._waiting.values()):
            if waiting.request.request_id == request_id:
                self._lose_parent(waiting)
            else:
                waiting.children = [child for child in waiting.children if child.request_id != request_id]

    def _lose_parent(self, waiting: WaitingRequest) -> None:
        gone = waiting.request
        del self._waiting[gone.request_id]
        if waiting.children:
            parent, *others = waiting.children
            parent.prompt_embeds, parent.content_hashes = gone.prompt_embeds, gone.content_hashes
            self._wait(WaitingRequest(parent, others, waiting.grammar, waiting.since))
        elif all(other.grammar is not waiting.grammar for other in self._waiting.values()):
            waiting.grammar.cancel()  # unless a thread has begun it

    def _wait(self, waiting: WaitingRequest) -> None:
        self._waiting[waiting.request.request_id] = waiting
        waiting.grammar.add_done_callback(lambda _: self.done(waiting))
