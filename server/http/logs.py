"""What the server logs and how: lines for people, or one JSON object a line; each with the id of its request."""

from __future__ import annotations

import logging
import logging.config
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from server.http.record import RecordSink, RequestRecord
from server.http.request_id import current_request_id

LogFormat = Literal["text", "json"]
PROBES = frozenset(("/health", "/ready", "/ping", "/metrics"))
_FIELDS = "fields"  # of a LogRecord: a dict for the JSON object
access = logging.getLogger("jaxpaged.access")
log = logging.getLogger("jaxpaged.server")


def configure_logs(kind: LogFormat, level: str) -> None:
    """Send every logger's records to one place: text to stderr, JSON to stdout, which then holds nothing else."""
    stream = "ext://sys.stdout" if kind == "json" else "ext://sys.stderr"
    formatter = JsonFormatter if kind == "json" else TextFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"ours": {"()": formatter}},
            "handlers": {"ours": {"class": "logging.StreamHandler", "formatter": "ours", "stream": stream}},
            "root": {"handlers": ["ours"], "level": "WARNING"},
            "loggers": {
                name: {"level": "DEBUG" if level == "trace" else level.upper()} for name in ("jaxpaged", "uvicorn")
            },
        }
    )
    logging.captureWarnings(True)


def say(kind: LogFormat, message: str, **fields: Any) -> None:
    """What a person at the terminal should read: printed, or, where every line is JSON, logged."""
    if kind == "json":
        log.info(message, extra={_FIELDS: fields})
    else:
        print(message, flush=True)


def logging_all_but(quiet: frozenset[str]) -> RecordSink:
    """A RecordSink: log_record, except for requests of these paths."""

    def log_others(record: RequestRecord) -> None:
        if record.path not in quiet:
            log_record(record)

    return log_others


def log_record(record: RequestRecord) -> None:
    """A RecordSink: one line for each request; for probes that go well, at the debug level."""
    level = logging.DEBUG if record.path in PROBES and record.status < 400 else logging.INFO
    if access.isEnabledFor(level):
        access.log(level, "%s", _sentence(record), extra={_FIELDS: _access_fields(record)})


class TextFormatter(logging.Formatter):
    """`2026-11-26 12:00:00 INFO message`, and the traceback where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One object: time, level, logger, message, request_id, whatever the record brings, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id.get():
            line["request_id"] = request_id
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _sentence(record: RequestRecord) -> str:
    parts = [f"{record.method} {record.path} {record.status} in {record.seconds:.3f} s"]
    if record.generates:
        parts.append(f"{record.prompt_tokens} + {record.completion_tokens} tokens")
    if record.time_to_first_token is not None:
        parts.append(f"first after {record.time_to_first_token:.3f} s")
    if "abort" in record.finish_reasons or "error" in record.finish_reasons:
        parts.append("not finished")
    return ", ".join([*parts, f"id {record.request_id}"])


def _access_fields(record: RequestRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "seconds": round(record.seconds, 6),
    }
    if record.generates:
        fields |= {
            "model": record.model,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "completion_tokens": record.completion_tokens,
            "time_to_first_token": _rounded(record.time_to_first_token),
            "time_in_queue": _rounded(record.time_in_queue),
            "finish_reasons": record.finish_reasons,
        }
    return fields


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
