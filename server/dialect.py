"""What the two OpenAI dialects have in common: who asked for what, and the frame of an event."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from jaxpaged import RequestOutput
from jaxpaged.frontend.input_processor import PreparedRequest
from server.parse import Reply
from server.usage import Usage

encode = msgspec.json.Encoder().encode
NULL = b"null"


@dataclass(slots=True)
class Answer:
    """One HTTP request on its way: its prompts in order, and what has been counted."""

    id: str
    model: str
    reply: Reply
    batch: list[PreparedRequest]
    created: int = field(default_factory=lambda: int(time.time()))
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        self.usage.prompt_tokens = sum(len(prepared.prompt_token_ids) for prepared in self.batch)

    def positions(self) -> dict[str, int]:
        """Request id -> index of its prompt."""
        return {prepared.request_id: index for index, prepared in enumerate(self.batch)}

    def head(self, kind: str) -> dict[str, Any]:
        """What every object of the answer begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class Frame:
    """The bytes around the choices of a chunk, encoded once: `data: {"id": ..., "choices": [` CHOICE `]}`."""

    __slots__ = ("_answer", "_continuous", "_start")

    def __init__(self, answer: Answer, kind: str) -> None:
        self._answer = answer
        self._continuous = answer.reply.continuous_usage
        self._start = b"data: " + encode(answer.head(kind))[:-1] + b',"choices":['

    def event(self, choice: bytes) -> bytes:
        """One event with one choice, already encoded."""
        if self._continuous:
            return b'%b%b],"usage":%b}\n\n' % (self._start, choice, encode(self._answer.usage.body()))
        return b"%b%b]}\n\n" % (self._start, choice)

    def last(self) -> bytes:
        """The usage event, where it was asked for, and the end mark."""
        if not self._answer.reply.include_usage:
            return b"data: [DONE]\n\n"
        return b'%b],"usage":%b}\n\ndata: [DONE]\n\n' % (self._start, encode(self._answer.usage.body()))


class Dialect(Protocol):
    """Turns outputs into the events of a stream, or into one body."""

    def begin(self) -> bytes: ...
    def events(self, output: RequestOutput) -> bytes: ...
    def end(self) -> bytes: ...
    def body(self, outputs: list[RequestOutput]) -> dict[str, Any]: ...
