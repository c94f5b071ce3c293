"""Outputs as /v1/responses shows them: typed events, or the response that they add up to."""

from __future__ import annotations

import time
from typing import Any

from jaxpaged import RequestOutput
from server.answers.answer import Answer
from server.answers.assistant import AssistantDelta, AssistantParser
from server.answers.blocks import Block, Blocks, Change, Kind
from server.answers.dialect import encode, refuse_error
from server.answers.reasoning.tokens import ReasoningTokens
from server.errors import as_api_error
from server.openai.logprobs import chat_logprobs, shown_alternatives
from server.responses.echo import request_echo
from server.responses.items import answer_messages, content_part, item_id, output_item
from server.responses.parse import ResponsesCall
from server.responses.schema import ResponsesRequest
from server.responses.store import ResponseStore

_CUT = ("length", "abort")
_TEXT_EVENTS = {Kind.REASONING: "response.reasoning_text", Kind.TEXT: "response.output_text"}


class ResponsesDialect:
    """One answer. At its end it goes into `store`, where it belongs to `owner`; None keeps nothing.

    `page_size` is how many tokens of a prompt the prefix cache keeps at a time, 0 where it keeps none.
    """

    def __init__(
        self,
        answer: Answer,
        body: ResponsesRequest,
        call: ResponsesCall,
        parser: AssistantParser,
        *,
        store: ResponseStore | None,
        owner: str,
        page_size: int,
    ) -> None:
        self._answer = answer
        self._echo = request_echo(body, call.chat.params)
        self._history = call.history
        self._names = call.names
        self._parser = parser
        self._store = store
        self._owner = owner
        self._page_size = page_size
        self._params = call.chat.params
        self._blocks = Blocks()
        self._tokens = ReasoningTokens()
        self._ids: list[str] = []
        self._logprobs: dict[int, list[dict[str, Any]]] = {}  # block -> its tokens'
        self._held_logprobs: list[dict[str, Any]] = []  # of tokens that the parser has not let go yet
        self._finish_reason: str | None = None
        self._sequence = 0

    def begin(self) -> bytes:
        response = self._response("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def events(self, output: RequestOutput) -> bytes:
        (completion,) = output.outputs
        refuse_error(completion)
        self._answer.usage.note(output)
        delta = self._parser.feed(completion.text)
        self._tokens.note(completion)
        parts = self._show(delta, self._entries(output))
        if completion.finish_reason is not None:
            self._finish_reason = completion.finish_reason
            parts += self._show(self._parser.end(), [])
            parts += b"".join(self._change_events(self._blocks.end(), []))
        return parts

    def end(self) -> bytes:
        response = self._finished()
        return self._event(f"response.{response['status']}", response=response)

    def note(self, output: RequestOutput) -> None:
        """As events(), for an answer that is not streamed."""
        self.events(output)

    def body(self) -> dict[str, Any]:
        return self._finished()

    def keep(self, status: str, error: Exception | None = None) -> dict[str, Any]:
        """The response in a state that is not an answer's end, as it is kept then, with what there is of its output."""
        response = self._response(status, error)
        response["output"] = [self._item(block) for block in self._blocks.all]
        if self._store is not None:
            self._store.put(self._owner, response, self._history)
        return response

    def error_event(self, error: Exception) -> bytes:
        """An error in the middle: the response has failed, and why. `error` beside the fields is what SDKs raise."""
        told = as_api_error(error).body()["error"]
        failed = self._response("failed", error)
        shown = {name: told[name] for name in ("code", "message", "param")}
        return self._event("response.failed", response=failed) + self._event("error", **shown, error=told)

    def _show(self, delta: AssistantDelta, entries: list[dict[str, Any]]) -> bytes:
        self._held_logprobs += entries
        if not delta:
            return b""
        entries, self._held_logprobs = self._held_logprobs if delta.content else [], []
        return b"".join(self._change_events(self._blocks.add(delta), entries))

    def _change_events(self, changes: list[Change], entries: list[dict[str, Any]]) -> list[bytes]:
        return [self._change_event(change, entries) for change in changes]

    def _change_event(self, change: Change, entries: list[dict[str, Any]]) -> bytes:
        block = change.block
        match change.what:
            case "open":
                self._ids.append(item_id(block.kind))
                return self._opened(block)
            case "grow":
                return self._grown(block, change.text, entries)
        return self._closed(block)

    def _opened(self, block: Block) -> bytes:
        item = output_item(block, self._ids[block.index], "in_progress", names=self._names)
        added = self._event("response.output_item.added", output_index=block.index, item=item)
        if block.kind is Kind.TOOL:
            return added
        return added + self._block_event(
            "response.content_part.added", block, content_index=0, part=content_part(block)
        )

    def _grown(self, block: Block, text: str, entries: list[dict[str, Any]]) -> bytes:
        if block.kind is Kind.TOOL:
            return self._block_event("response.function_call_arguments.delta", block, delta=text)
        fields: dict[str, Any] = {"content_index": 0, "delta": text}
        if block.kind is Kind.TEXT:
            self._logprobs.setdefault(block.index, []).extend(entries)
            fields["logprobs"] = entries
        return self._block_event(f"{_TEXT_EVENTS[block.kind]}.delta", block, **fields)

    def _closed(self, block: Block) -> bytes:
        return self._content_done(block) + self._event(
            "response.output_item.done", output_index=block.index, item=self._item(block)
        )

    def _content_done(self, block: Block) -> bytes:
        if block.kind is Kind.TOOL:
            call = {"name": self._item(block)["name"], "arguments": block.text}
            return self._block_event("response.function_call_arguments.done", block, **call)
        entries = self._logprobs.get(block.index, [])
        fields: dict[str, Any] = {"content_index": 0, "text": block.text}
        if block.kind is Kind.TEXT:
            fields["logprobs"] = entries
        text = self._block_event(f"{_TEXT_EVENTS[block.kind]}.done", block, **fields)
        part = content_part(block, entries)
        return text + self._block_event("response.content_part.done", block, content_index=0, part=part)

    def _item(self, block: Block) -> dict[str, Any]:
        is_cut = self._finish_reason in _CUT and block is self._blocks.all[-1]
        status = "incomplete" if is_cut else "completed"
        return output_item(block, self._ids[block.index], status, self._logprobs.get(block.index), self._names)

    def _finished(self) -> dict[str, Any]:
        is_cut, is_full = self._finish_reason in _CUT, self._finish_reason == "length"
        response = self._response("incomplete" if is_cut else "completed")
        response["incomplete_details"] = {"reason": "max_output_tokens"} if is_full else None
        response["completed_at"] = None if is_cut else int(time.time())
        response["output"] = [self._item(block) for block in self._blocks.all]
        response["usage"] = self._usage()
        if self._store is not None:
            self._store.put(self._owner, response, self._history + answer_messages(self._blocks.all))
        return response

    def _response(self, status: str, error: Exception | None = None) -> dict[str, Any]:
        answer = self._answer
        return {
            "id": answer.id,
            "object": "response",
            "created_at": answer.created,
            "status": status,
            "error": None if error is None else {"code": "server_error", "message": as_api_error(error).message},
            "incomplete_details": None,
            "model": answer.model,
            "output": [],
            "usage": None,
            **self._echo,
        }

    def _usage(self) -> dict[str, Any]:
        usage = self._answer.usage
        written = usage.written_tokens(self._page_size)
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": written},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self._tokens.count(self._parser.thoughts)},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }

    def _entries(self, output: RequestOutput) -> list[dict[str, Any]]:
        (completion,) = output.outputs
        if self._params.num_logprobs is None or not completion.logprobs:
            return []
        top, as_ids = shown_alternatives(self._params), self._answer.reply.tokens_as_ids
        return chat_logprobs(completion.logprobs, as_ids=as_ids, top=top)["content"]

    def _block_event(self, kind: str, block: Block, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._ids[block.index], output_index=block.index, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(event))
