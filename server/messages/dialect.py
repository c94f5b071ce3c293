"""Outputs as /v1/messages shows them: named events, or the message that they add up to."""

from __future__ import annotations

from typing import Any

from jaxpaged import RequestOutput
from server.answers.answer import Answer
from server.answers.assistant import AssistantDelta, AssistantParser
from server.answers.blocks import Block, Blocks, Change, Kind
from server.answers.dialect import encode, refuse_error
from server.answers.reasoning.tokens import ReasoningTokens
from server.errors import as_api_error
from server.messages.content import content_block
from server.messages.errors import anthropic_error

_DELTAS = {
    Kind.REASONING: ("thinking_delta", "thinking"),
    Kind.TEXT: ("text_delta", "text"),
    Kind.TOOL: ("input_json_delta", "partial_json"),
}


class MessagesDialect:
    """One answer. `show_thinking` is False for a client that wants to know only that the model has thought.

    `page_size` is how many tokens of a prompt the prefix cache keeps at a time, 0 where it keeps none.
    """

    def __init__(
        self, answer: Answer, parser: AssistantParser, *, show_thinking: bool = True, page_size: int = 0
    ) -> None:
        self._answer = answer
        self._parser = parser
        self._show_thinking = show_thinking
        self._page_size = page_size
        self._blocks = Blocks()
        self._tokens = ReasoningTokens()
        self._finish_reason: str | None = None
        self._stop_reason: int | str | None = None

    def begin(self) -> bytes:
        return _event("message_start", message=self._message())

    def events(self, output: RequestOutput) -> bytes:
        (completion,) = output.outputs
        refuse_error(completion)
        self._answer.usage.note(output)
        self._tokens.note(completion)
        parts = self._show(self._parser.feed(completion.text))
        if completion.finish_reason is not None:
            self._finish_reason, self._stop_reason = completion.finish_reason, completion.stop_reason
            parts += self._show(self._parser.end())
            parts += b"".join(map(self._change_event, self._blocks.end()))
        return parts

    def end(self) -> bytes:
        return _event("message_delta", delta=self._stop(), usage=self._usage()) + _event("message_stop")

    def note(self, output: RequestOutput) -> None:
        """As events(), for an answer that is not streamed."""
        self.events(output)

    def body(self) -> dict[str, Any]:
        content = [content_block(block, show_thinking=self._show_thinking) for block in self._blocks.all]
        return {**self._message(), "content": content, **self._stop()}

    def _show(self, delta: AssistantDelta) -> bytes:
        return b"".join(map(self._change_event, self._blocks.add(delta)))

    def _change_event(self, change: Change) -> bytes:
        block = change.block
        if change.what == "open":
            return _event("content_block_start", index=block.index, content_block=content_block(block))
        if change.what == "grow":
            if block.kind is Kind.REASONING and not self._show_thinking:
                return b""
            kind, field = _DELTAS[block.kind]
            return self._delta(block, type=kind, **{field: change.text})
        sign = self._delta(block, type="signature_delta", signature="") if block.kind is Kind.REASONING else b""
        return sign + _event("content_block_stop", index=block.index)

    def _delta(self, block: Block, **delta: str) -> bytes:
        return _event("content_block_delta", index=block.index, delta=delta)

    def _message(self) -> dict[str, Any]:
        return {
            "id": self._answer.id,
            "type": "message",
            "role": "assistant",
            "model": self._answer.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": self._usage(),
        }

    def _stop(self) -> dict[str, Any]:
        sequence = self._stop_reason if isinstance(self._stop_reason, str) and self._finish_reason == "stop" else None
        if self._finish_reason == "length":
            reason = "max_tokens"
        elif self._finish_reason == "abort":  # not by the model: the client may go on from what it has
            reason = "pause_turn"
        elif sequence is not None:
            reason = "stop_sequence"
        elif any(block.kind is Kind.TOOL for block in self._blocks.all):
            reason = "tool_use"
        else:
            reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None}

    def _usage(self) -> dict[str, Any]:
        """Anthropic's input_tokens are those that no cache had or keeps, as far as is known: at the end."""
        usage = self._answer.usage
        written = usage.written_tokens(self._page_size) if self._finish_reason is not None else 0
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"thinking_tokens": self._tokens.count(self._parser.thoughts)},
        }


def error_event(error: Exception) -> bytes:
    """An error in the middle of a stream. No message_stop follows: the answer is not complete."""
    return _event("error", **anthropic_error(as_api_error(error)))


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
