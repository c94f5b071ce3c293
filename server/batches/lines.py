"""The lines of a batch: JSON objects with custom_id, method, url and body, each on its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

MAX_CUSTOM_ID = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One request."""

    number: int
    custom_id: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no request; it fails alone. `custom_id` is None where it could not be read."""

    number: int
    custom_id: str | None
    code: str
    message: str


class LineReader:
    """Requests from a file opened in binary mode, at most `max_bytes` of a line in memory; blank lines are skipped.

    `urls` are those that the batch may ask. A custom_id that was there before is refused.
    """

    def __init__(self, file: BinaryIO, urls: Collection[str], max_bytes: int) -> None:
        self._file = file
        self._urls = urls
        self._max_bytes = max_bytes
        self._number = 0
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Line | BadLine]:
        while (line := self.next()) is not None:
            yield line

    def next(self) -> Line | BadLine | None:
        """The next one, None at the end."""
        while raw := self._file.readline(self._max_bytes + 1):
            self._number += 1
            if len(raw) > self._max_bytes:
                self._skip_rest(raw)
                return self._bad(None, "line_too_long", f"the line is longer than {self._max_bytes} bytes")
            if raw.strip():
                return self._parsed(raw)
        return None

    def _skip_rest(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(2**16)

    def _parsed(self, raw: bytes) -> Line | BadLine:
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._bad(None, "invalid_json_line", "the line is not valid JSON")
        if not isinstance(value, dict):
            return self._bad(None, "invalid_json_line", "the line is not a JSON object")
        custom_id = value.get("custom_id")
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
            return self._bad(None, "invalid_custom_id", f"custom_id must be a text of 1 to {MAX_CUSTOM_ID} characters")
        if custom_id in self._seen:
            return self._bad(custom_id, "duplicate_custom_id", "another line has the same custom_id")
        self._seen.add(custom_id)
        return self._request(custom_id, value)

    def _request(self, custom_id: str, value: dict[str, Any]) -> Line | BadLine:
        url, body = value.get("url"), value.get("body")
        if value.get("method", "POST") != "POST":
            return self._bad(custom_id, "invalid_method", "method must be POST")
        if not isinstance(url, str) or url not in self._urls:
            return self._bad(custom_id, "invalid_url", f"url must be {' or '.join(sorted(self._urls))}")
        if not isinstance(body, dict):
            return self._bad(custom_id, "invalid_body", "body must be an object")
        return Line(self._number, custom_id, url, body)

    def _bad(self, custom_id: str | None, code: str, why: str) -> BadLine:
        return BadLine(self._number, custom_id, code, f"Line {self._number}: {why}.")
