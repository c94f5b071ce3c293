"""The bytes around the choices of a streamed chunk."""

from __future__ import annotations

from server.answers.answer import Answer
from server.answers.dialect import encode


class Frame:
    """The bytes around the choices of a chunk, encoded once: `data: {"id": ..., "choices": [` CHOICE `]}`."""

    __slots__ = ("_answer", "_continuous", "_start")

    def __init__(self, answer: Answer, kind: str) -> None:
        self._answer = answer
        self._continuous = answer.reply.continuous_usage
        self._start = b"data: " + encode(answer.head(kind))[:-1] + b',"choices":['

    def event(self, choice: bytes, more: bytes = b"") -> bytes:
        """One event with one choice, already encoded, and `more` fields beside it."""
        if self._continuous:
            return b'%b%b],"usage":%b%b}\n\n' % (self._start, choice, encode(self._answer.usage.body()), more)
        return b"%b%b]%b}\n\n" % (self._start, choice, more)

    def last(self) -> bytes:
        """The usage event, where it was asked for, and the end mark."""
        if not self._answer.reply.include_usage:
            return b"data: [DONE]\n\n"
        return b'%b],"usage":%b}\n\ndata: [DONE]\n\n' % (self._start, encode(self._answer.usage.body()))
