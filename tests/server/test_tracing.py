"""Spans reach a collector over OTLP, with the attributes that dashboards for vLLM and gen_ai look for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from jaxpaged import ConfigError
from server.flags import ServerOptions
from server.http.tracing import Tracing
from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, client

pytestmark = pytest.mark.anyio
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(HTTPServer):
    """Keeps what is exported to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    def spans(self) -> list:
        return [
            span for request in self.requests for r in request.resource_spans for s in r.scope_spans for span in s.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") is None:
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span) -> dict:
    found = {}
    for item in span.attributes:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        found[item.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


async def test_a_request_is_a_span(collector: Collector) -> None:
    tracing = Tracing(f"http://127.0.0.1:{collector.server_port}/v1/traces")
    body = {"prompt": "hello world", "max_tokens": 5, "temperature": 0.5}
    async with client(options=ServerOptions(record_sinks=(tracing,))) as http:
        headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert (await http.post("/v1/completions", json=body, headers=headers)).status_code == 200
        chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": True}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
        assert (await http.get("/v1/models")).status_code == 200  # no span
    tracing.shutdown()
    first, second = collector.spans()
    got = attributes(first)
    assert (first.name, first.trace_id.hex(), first.parent_span_id.hex()) == ("llm_request", TRACE, PARENT)
    assert got["gen_ai.request.model"] == got["gen_ai.response.model"] == MODEL
    assert got["gen_ai.request.id"] == "mine"
    assert (got["gen_ai.usage.prompt_tokens"], got["gen_ai.usage.completion_tokens"]) == (2, 5)
    assert (got["gen_ai.request.temperature"], got["gen_ai.request.max_tokens"]) == (0.5, 5)
    assert got["gen_ai.response.finish_reasons"] == ["length"]
    assert 0 < got["gen_ai.latency.time_to_first_token"] <= got["gen_ai.latency.e2e"] < 5
    assert (first.end_time_unix_nano - first.start_time_unix_nano) / 1e9 == pytest.approx(
        got["gen_ai.latency.e2e"], abs=1e-5
    )
    assert attributes(second)["gen_ai.operation.name"] == "chat"
    resource = {
        item.key: item.value.string_value for item in collector.requests[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "jaxpaged"


async def test_a_failure_is_marked(collector: Collector) -> None:
    tracing = Tracing(f"http://127.0.0.1:{collector.server_port}/v1/traces")
    async with client(FakeEngine(crash_after=1), ServerOptions(record_sinks=(tracing,))) as http:
        assert (await http.post("/v1/completions", json={"prompt": "hello"})).status_code == 503
    tracing.shutdown()
    (span,) = collector.spans()
    assert span.status.code == 2
    assert attributes(span)["http.response.status_code"] == 503


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://localhost:4317", ""])
def test_other_protocols_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="OTLP/HTTP"):
        Tracing(endpoint)


def test_without_the_extra_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install 'jaxpaged\[otel\]'"):
        Tracing("http://localhost:4318/v1/traces")
