"""The gate between a front end and its engine: while it is closed, new requests wait here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import RequestError

PAUSED = "paused"  # the stop_reason of an answer that a pause has ended


class PauseMode(Enum):
    """What a pause means for requests in flight: they end at once, end by themselves, or go on after it."""

    ABORT = "abort"
    WAIT = "wait"
    KEEP = "keep"

    @classmethod
    def of(cls, mode: str) -> PauseMode:
        """By its name. Raises RequestError."""
        if mode not in {one.value for one in cls}:
            raise RequestError(f"mode is {str(mode)[:50]!r}; give abort, wait or keep.", "mode")
        return cls(mode)


class Gate:
    """`send` gives requests to the engine; `is_wanted` says whether somebody still waits for one."""

    def __init__(self, send: Callable[[Sequence[EngineRequest]], None], is_wanted: Callable[[int], bool]) -> None:
        self.closed = False
        self._send = send
        self._is_wanted = is_wanted
        self._held: list[EngineRequest] = []

    def add(self, requests: Sequence[EngineRequest]) -> None:
        """To the engine, or behind the gate."""
        if self.closed:
            self._held += requests
        else:
            self._send(requests)

    def open(self) -> None:
        """Let all in that have waited and are still wanted, in their order."""
        held, self._held, self.closed = self._held, [], False
        wanted = [request for request in held if self._is_wanted(request.request_id)]
        if wanted:
            self._send(wanted)
