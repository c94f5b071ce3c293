"""Outputs as /v1/chat/completions shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxpaged import CompletionOutput, RequestOutput
from server.answers.answer import Answer
from server.answers.assistant import AssistantMessage, AssistantParser, parse_whole
from server.answers.dialect import encode
from server.answers.reasoning.tokens import ReasoningTokens
from server.openai.frame import Frame
from server.openai.logprobs import chat_logprobs, prompt_logprobs, shown_alternatives
from server.openai.message import DEFAULT_STYLE, MessageStyle

_ENDS = b'"finish_reason":%b,"stop_reason":%b,"token_ids":null'
_GOES_ON = _ENDS % (b"null", b"null")
_NO_PROMPT = b',"prompt_token_ids":null'


class ChatDialect:
    """One conversation with n answers, each of which begins with `echo`."""

    def __init__(
        self,
        answer: Answer,
        make_parser: Callable[[], AssistantParser] | None = None,
        style: MessageStyle = DEFAULT_STYLE,
        echo: str = "",
    ) -> None:
        params = answer.batch[0].params
        self._answer = answer
        self._n = len(answer.batch[0].samples)
        self._make_parser = make_parser
        self._style = style
        self._echo = echo
        self._parsers = [make_parser() for _ in range(self._n)] if make_parser is not None else []
        self._tokens = [ReasoningTokens() for _ in self._parsers]
        if self._parsers:
            answer.usage.count_reasoning = self._count_reasoning
        self._called: set[int] = set()  # the answers that have called a tool
        self._scored = params.num_logprobs is not None
        self._top = shown_alternatives(params)
        self._plain = not self._scored and not answer.reply.return_token_ids and make_parser is None
        self._frame = Frame(answer, "chat.completion.chunk")
        self._prompt_shown = False
        self._whole: list[RequestOutput] = []

    def begin(self) -> bytes:
        """The role, once for each answer."""
        role = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,%b}'
        ids = self._answer.batch[0].prompt_token_ids if self._answer.reply.return_token_ids else None
        first = self._frame.event(role % (0, _GOES_ON), b',"prompt_token_ids":' + encode(ids))
        others = (self._frame.event(role % (index, _GOES_ON), _NO_PROMPT) for index in range(1, self._n))
        return first + b"".join(others) + self._echo_events()

    def events(self, output: RequestOutput) -> bytes:
        """One event for each answer that this step brought something to."""
        self._answer.usage.note(output)
        event = self._event if self._plain else self._long_event
        return b"".join([event(completion) for completion in output.outputs])

    def _echo_events(self) -> bytes:
        if not self._echo:
            return b""
        delta = b'{"index":%d,"delta":{"content":%b},"logprobs":null,%b}'
        text = encode(self._echo)
        return b"".join(self._frame.event(delta % (index, text, _GOES_ON)) for index in range(self._n))

    def end(self) -> bytes:
        return self._frame.last()

    def note(self, output: RequestOutput) -> None:
        if output.finished:
            self._answer.usage.note(output)
            self._whole.append(output)

    def body(self) -> dict[str, Any]:
        (output,) = self._whole
        reply = self._answer.reply
        choices = [self._choice(completion) for completion in output.outputs]
        body = self._answer.whole("chat.completion", choices)
        body["prompt_logprobs"] = prompt_logprobs(output.prompt_logprobs or []) if reply.prompt_logprobs else None
        body["prompt_token_ids"] = self._answer.batch[0].prompt_token_ids if reply.return_token_ids else None
        return body

    def _count_reasoning(self) -> int:
        pairs = zip(self._tokens, self._parsers, strict=True)
        return sum(tokens.count(parser.thoughts) for tokens, parser in pairs)

    def _event(self, completion: CompletionOutput) -> bytes:
        ended = completion.finish_reason
        if ended is None and not completion.text:
            return b""  # what came may become a stop string, or is part of a character
        delta = b'{"content":%b}' % encode(completion.text) if completion.text else b"{}"
        ends = _GOES_ON if ended is None else _ENDS % (encode(ended), encode(completion.stop_reason))
        return self._frame.event(b'{"index":%d,"delta":%b,"logprobs":null,%b}' % (completion.index, delta, ends))

    def _long_event(self, completion: CompletionOutput) -> bytes:
        delta = self._delta(completion)
        called = completion.index in self._called
        choice: dict[str, Any] = {
            "index": completion.index,
            "delta": delta,
            "logprobs": self._logprobs(completion),
            "finish_reason": self._style.finish_reason(completion.finish_reason, called=called),
        }
        choice["stop_reason"] = completion.stop_reason
        choice["token_ids"] = completion.token_ids if self._answer.reply.return_token_ids else None
        if not (delta or choice["logprobs"] or choice["token_ids"] or completion.finish_reason):
            return b""  # what came is held back, or is a marker
        return self._frame.event(encode(choice))

    def _delta(self, completion: CompletionOutput) -> dict[str, Any]:
        if self._make_parser is None:
            return {"content": completion.text} if completion.text else {}
        parser = self._parsers[completion.index]
        self._tokens[completion.index].note(completion)
        delta = parser.feed(completion.text)
        if completion.finish_reason is not None:
            delta = delta + parser.end()
        if delta.tool_calls:
            self._called.add(completion.index)
        return self._style.delta(delta)

    def _choice(self, completion: CompletionOutput) -> dict[str, Any]:
        message = self._style.message(AssistantMessage(content=completion.text))
        called = False
        if self._make_parser is not None:
            self._tokens[completion.index].note(completion)
            parsed = parse_whole(self._parsers[completion.index], completion.text)
            message, called = self._style.message(parsed), bool(parsed.tool_calls)
        if self._echo:
            message["content"] = self._echo + (message["content"] or "")
        choice = {
            "index": completion.index,
            "message": message,
            "logprobs": self._logprobs(completion),
            "finish_reason": self._style.finish_reason(completion.finish_reason, called=called),
            "stop_reason": completion.stop_reason,
        }
        choice["token_ids"] = completion.token_ids if self._answer.reply.return_token_ids else None
        return choice

    def _logprobs(self, completion: CompletionOutput) -> dict[str, list[Any]] | None:
        if not self._scored:
            return None
        as_ids = self._answer.reply.tokens_as_ids
        return chat_logprobs(completion.logprobs or (), as_ids=as_ids, top=self._top)
