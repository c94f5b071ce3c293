"""Counts of HTTP requests and of this process, under the names that vLLM's servers have them
(prometheus-fastapi-instrumentator's). A handler is a route's path with its parameters unfilled, so there are few."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOT_COUNTED = frozenset(("/metrics", "/health", "/ready", "/ping", "/load", "/version"))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_SECONDS = (0.1, 0.5, 1.0)
_FINE_SECONDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0),
    60.0,
)


class HttpMetrics:
    """Owner of the counts of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        ours: dict[str, Any] = {"registry": self._registry}
        labels = ("method", "status", "handler")
        self._requests = Counter("http_requests", "Requests by method, status and handler.", labels, **ours)
        self._received = Summary("http_request_size_bytes", "Content-Length of requests.", ("handler",), **ours)
        self._sent = Summary("http_response_size_bytes", "Bytes of answers.", ("handler",), **ours)
        self._fine_seconds = Histogram(
            "http_request_duration_highr_seconds", "Seconds of requests.", buckets=_FINE_SECONDS, **ours
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Seconds of requests by method and handler.",
            ("method", "handler"),
            buckets=_SECONDS,
            **ours,
        )

    def note(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        """One request has been answered; its route stands in `scope` where it has one."""
        handler = getattr(scope.get("route"), "path", "none")
        if handler in NOT_COUNTED:
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, f"{status // 100}xx", handler).inc()
        self._received.labels(handler).observe(_content_length(scope))
        self._sent.labels(handler).observe(sent)
        self._fine_seconds.observe(seconds)
        self._seconds.labels(method, handler).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class Measuring:
    """ASGI middleware outside everything that answers: tells HttpMetrics of each request."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent = time.monotonic(), 499, 0  # nginx's status for a client that left before it got one

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            self._metrics.note(scope, status, sent, time.monotonic() - began)


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
