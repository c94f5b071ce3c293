"""One HTTP request on a raw socket, which may go away at any point, politely or not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER with no time: closing sends a reset
KEY = "key"


@dataclass(frozen=True)
class Leave:
    """After how many events (0: as soon as the request is sent) and `seconds` the client goes, and how."""

    events: int
    reset: bool
    seconds: float = 0.0


@dataclass
class Outcome:
    """What came of a request."""

    status: int = 0  # 0: nothing came
    text: str = ""
    events: int = 0
    error: str = ""  # an error in a stream
    done: bool = False  # the end mark of a stream, or a whole body
    left: bool = False  # the client went away
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


async def ask(port: int, body: dict[str, Any], leave: Leave | None = None, path: str = "/v1/completions") -> Outcome:
    """Send one request and read its answer, or leave."""
    outcome, began = Outcome(), time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    except OSError as error:
        outcome.error = f"cannot connect: {error}"
        return outcome
    try:
        writer.write(request_bytes(path, body))
        await writer.drain()
        await _read(reader, outcome, leave)
        if leave is not None and not outcome.done and not outcome.error:
            await asyncio.sleep(leave.seconds)
            outcome.left = True
            if leave.reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        outcome.error = f"connection broke: {error}"
    finally:
        writer.close()
    outcome.seconds = time.monotonic() - began
    return outcome


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def _read(reader: asyncio.StreamReader, outcome: Outcome, leave: Leave | None) -> None:
    if leave is not None and leave.events == 0:
        return
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    outcome.status = int(head[0].split()[1])
    outcome.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if value}
    if outcome.headers.get("content-type", "").startswith("text/event-stream"):
        await _read_events(reader, outcome, leave)
        return
    answer = json.loads(await reader.readexactly(int(outcome.headers["content-length"])))
    outcome.done = True
    if outcome.status == 200:
        outcome.text = answer["choices"][0].get("text", "")  # a chat has a message instead
    else:
        outcome.error = answer["error"]["message"]


async def _read_events(reader: asyncio.StreamReader, outcome: Outcome, leave: Leave | None) -> None:
    """Lines that are no events (chunk sizes, comments) are skipped."""
    while line := await reader.readline():
        if line.startswith(b"data: [DONE]"):
            outcome.done = True
            return
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                outcome.error = event["error"]["message"]
                return
            outcome.events += 1
            outcome.text += event["choices"][0].get("text", "") if event["choices"] else ""
            if leave is not None and outcome.events >= leave.events:
                return
    outcome.error = outcome.error or "the stream ended without an end mark"
