"""One request through the ASGI interface by hand: any method, path, header and body, as a server would hand it over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


async def call(
    app: Any,
    method: str,
    target: str,
    headers: Headers = (),
    chunks: Iterable[bytes] = (),
    *,
    gone: asyncio.Event | None = None,
) -> Answer:
    """The answer to one request. The client stays until it has it, or leaves when `gone` is set."""
    raw_path, _, query = target.encode("latin-1").partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"), "raw_path": raw_path,
        "query_string": query, "root_path": "", "headers": list(headers), "client": ("test", 1), "server": ("test", 80),
    }  # fmt: skip
    parts, ended, left = iter(chunks), False, gone or asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal ended
        if ended:
            await left.wait()
            return {"type": "http.disconnect"}
        part = next(parts, None)
        ended = part is None
        return {"type": "http.request", "body": part or b"", "more_body": not ended}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    start = sent[0] if sent else {"status": 0, "headers": []}
    return Answer(start["status"], list(start["headers"]), content)
