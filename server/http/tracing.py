"""OpenTelemetry spans, one for each request to the engine, by vLLM's names. An extra: pip install 'jaxpaged[otel]'."""

from __future__ import annotations

from typing import Any

from jaxpaged import ConfigError, __version__
from server.http.record import RequestRecord

SPAN = "llm_request"
_PARENT_HEADERS = frozenset((b"traceparent", b"tracestate"))


class Tracing:
    """A RecordSink that exports by OTLP over HTTP, in a thread. The exporter reads OTEL_* variables for itself.

    Raises ConfigError for an endpoint that is none of HTTP's and where OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigError(
                f"--otlp-traces-endpoint {endpoint!r} is not an HTTP address; give the collector's OTLP/HTTP one, such "
                "as http://localhost:4318/v1/traces."
            )
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigError(
                "--otlp-traces-endpoint needs OpenTelemetry; install it with: pip install 'jaxpaged[otel]'"
            ) from error
        resource = Resource({"service.name": "jaxpaged", "service.version": __version__})
        self._provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("jaxpaged", __version__)
        self._parent = TraceContextTextMapPropagator()
        self._trace = trace

    def __call__(self, record: RequestRecord) -> None:
        if not record.generates:
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in record.headers if name in _PARENT_HEADERS}
        span = self._tracer.start_span(
            SPAN,
            context=self._parent.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes=attributes(record),
            start_time=round(record.began_at * 1e9),
        )
        if record.status >= 500 or "error" in record.finish_reasons:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(round((record.began_at + record.seconds) * 1e9))

    def shutdown(self) -> None:
        """Export what waits, and end."""
        self._provider.shutdown()


def attributes(record: RequestRecord) -> dict[str, Any]:
    """OpenTelemetry's gen_ai attributes, and vLLM's where it has others."""
    params = record.params
    assert params is not None
    found = {
        "gen_ai.provider.name": "jaxpaged",
        "gen_ai.operation.name": "chat" if "chat" in record.path else "text_completion",
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.model,
        "gen_ai.request.id": record.request_id,
        "gen_ai.request.n": params.n,
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
        "gen_ai.request.max_tokens": params.max_tokens,
        "gen_ai.response.finish_reasons": record.finish_reasons,
        "gen_ai.usage.prompt_tokens": record.prompt_tokens,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.completion_tokens": record.completion_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cached_tokens": record.cached_tokens,
        "gen_ai.latency.time_to_first_token": record.time_to_first_token,
        "gen_ai.latency.time_in_queue": record.time_in_queue,
        "gen_ai.latency.e2e": record.seconds,
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "url.path": record.path,
    }
    return {name: value for name, value in found.items() if value is not None}
