"""Answering a body of /v1/chat/completions/batch: conversations, one answer each, as the choices of one chat."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive

from jaxpaged import RequestOutput
from server.answers.answer import Answer
from server.answers.connected import while_connected
from server.answers.streaming import answer_whole
from server.errors import bad_request
from server.openai.chat import PreparedChat, chat_call, prepare_chat
from server.openai.chat_dialect import ChatDialect
from server.openai.message import MessageStyle
from server.openai.parse import ChatCall, echoed_message
from server.openai.schema import ChatMessage, ChatRequest
from server.serving import Serving

# field -> the values that it may have: a batch is not streamed and calls no tools
_ONLY: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "stream": (None, False),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none"),
    "use_beam_search": (None, False),
}
MAX_CONVERSATIONS = 256
_MAX_MESSAGES = 16384
Conversation = Annotated[list[ChatMessage], Field(min_length=1)]


class BatchChatRequest(ChatRequest):
    """POST /v1/chat/completions/batch: a chat whose `messages` are a list of conversations."""

    messages: Annotated[list[Conversation], Field(min_length=1, max_length=MAX_CONVERSATIONS)]  # type: ignore[assignment]


async def answer_chat_batch(serving: Serving, body: BatchChatRequest, receive: Receive) -> Response:
    """Answer a body of /v1/chat/completions/batch."""
    serving.check_model(body.model)
    for name, allowed in _ONLY.items():
        if getattr(body, name) not in allowed:
            raise bad_request(f"{name} is not served for batches of chats; leave it out.", name)
    if sum(map(len, body.messages)) > _MAX_MESSAGES:
        raise bad_request(f"messages holds more than {_MAX_MESSAGES} messages; send several requests.", "messages")
    shared = {name: getattr(body, name) for name in body.model_fields_set - {"messages"}}
    calls, chats = [], []
    for conversation in body.messages:
        chat = ChatRequest.model_construct(**shared, messages=conversation)
        calls.append(chat_call(serving, chat))
        chats.append(await while_connected(receive, prepare_chat(serving, calls[-1])))
    dialect = _BatchDialect(serving.llm.model_name, calls, chats)
    return await answer_whole(serving.submit(dialect.answer), dialect, receive)


class _BatchDialect:
    """The dialects of all conversations, whose bodies become one."""

    def __init__(self, model: str, calls: list[ChatCall], chats: list[PreparedChat]) -> None:
        answer_id = f"chatcmpl-{uuid.uuid4().hex}"
        self.answer = Answer(answer_id, model, calls[0].reply, [chat.request for chat in chats])
        self._dialects: dict[str, ChatDialect] = {}
        for call, chat in zip(calls, chats, strict=True):
            answer = Answer(answer_id, model, call.reply, [chat.request])
            style = MessageStyle(call.reply.reasoning, call.tools.legacy)
            self._dialects[chat.request.request_id] = ChatDialect(answer, chat.new_parser, style, echoed_message(call))

    def note(self, output: RequestOutput) -> None:
        self._dialects[output.request_id].note(output)

    def body(self) -> dict[str, Any]:
        bodies = [dialect.body() for dialect in self._dialects.values()]
        choices = [{**body["choices"][0], "index": index} for index, body in enumerate(bodies)]
        return {**bodies[0], "choices": choices, "usage": _sum([body["usage"] for body in bodies])}


def _sum(usages: list[dict[str, Any]]) -> dict[str, Any]:
    """Usages added up, details too."""
    total: dict[str, Any] = {}
    for name, first in usages[0].items():
        values = [usage[name] for usage in usages]
        total[name] = _sum(values) if isinstance(first, dict) else None if first is None else sum(values)
    return total
