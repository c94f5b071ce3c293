"""What is known about one HTTP request at its end: for the access log and for traces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxpaged import PreparedRequest, RequestOutput, SamplingParams, observing
from server.errors import CLIENT_CLOSED
from server.http.request_id import current_request_id


@dataclass(slots=True)
class RequestRecord:
    """A RequestObserver of everything that one HTTP request gave to the engine. Times are in seconds."""

    request_id: str
    method: str
    path: str
    model: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    began: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.time)
    status: int = CLIENT_CLOSED
    seconds: float = 0.0
    params: SamplingParams | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    time_to_first_token: float | None = None
    time_in_queue: float | None = None
    finish_reasons: list[str] = field(default_factory=list)

    @property
    def generates(self) -> bool:
        """Whether anything went to the engine."""
        return self.params is not None

    def submitted(self, prepared: PreparedRequest) -> None:
        self.params = prepared.params
        self.prompt_tokens += len(prepared.prompt_token_ids)

    def finished(self, prepared: PreparedRequest, output: RequestOutput | None) -> None:
        if output is None or output.metrics is None:
            return
        metrics = output.metrics
        self.cached_tokens += output.num_cached_tokens or 0
        self.completion_tokens += metrics.num_generation_tokens
        self.finish_reasons += [one.finish_reason for one in output.outputs if one.finish_reason is not None]
        if metrics.first_token_ts:
            first = metrics.first_token_ts - self.began
            self.time_to_first_token = min(first, self.time_to_first_token or first)
        if metrics.scheduled_ts:
            self.time_in_queue = max(self.time_in_queue or 0.0, metrics.scheduled_ts - metrics.queued_ts)


RecordSink = Callable[[RequestRecord], None]


class Recording:
    """ASGI middleware, inside RequestId and outside everything that answers: a record of each request to each sink."""

    def __init__(self, app: ASGIApp, model: str, sinks: Sequence[RecordSink]) -> None:
        self._app = app
        self._model = model
        self._sinks = sinks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(current_request_id.get(), scope["method"], _path(scope), self._model, scope["headers"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            with observing(record):
                await self._app(scope, receive, watched)
        finally:
            record.seconds = time.monotonic() - record.began
            for sink in self._sinks:
                sink(record)


def _path(scope: Scope) -> str:
    """As it was sent, so that nothing in it can start a new line in a log."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return str(raw.decode("ascii", "backslashreplace").encode("unicode_escape").decode())
