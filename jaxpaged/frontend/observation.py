"""Observers of requests: access logs and traces of a server in front of an AsyncLLM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.outputs import RequestOutput


class RequestObserver(Protocol):
    """Told once when a request goes to the engine and once when it has ended, however it did."""

    def submitted(self, prepared: PreparedRequest) -> None: ...

    def finished(self, prepared: PreparedRequest, output: RequestOutput | None) -> None:
        """`output` is the last one; it says "abort" for a request that was given up."""
        ...


# Of the task that submits: what stands between it and AsyncLLM need not know of observers.
current_observer: ContextVar[RequestObserver | None] = ContextVar("current_observer", default=None)


@contextmanager
def observing(observer: RequestObserver) -> Iterator[None]:
    """Report every request that this task submits inside to `observer`."""
    token = current_observer.set(observer)
    try:
        yield
    finally:
        current_observer.reset(token)
