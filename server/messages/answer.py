"""Answering a body of /v1/messages."""

from __future__ import annotations

import uuid
from functools import partial

from starlette.responses import Response
from starlette.types import Receive

from server.answers.answer import Answer
from server.answers.connected import while_connected
from server.answers.streaming import EventStream, answer_whole
from server.messages.dialect import MessagesDialect, error_event
from server.messages.parse import NAMES, parse_messages
from server.messages.schema import CountTokensRequest, MessagesRequest
from server.openai.chat import chat_call, prepare_chat
from server.openai.chat_body import errors_name
from server.serving import Serving


async def answer_message(serving: Serving, body: MessagesRequest, receive: Receive) -> Response:
    """Answer a body of /v1/messages."""
    llm = serving.llm
    serving.check_model(body.model)
    call = parse_messages(body, partial(chat_call, serving), limits_thoughts=serving.llm.limits_thoughts)
    with errors_name(NAMES):
        chat = await while_connected(receive, prepare_chat(serving, call))
    answer = Answer(f"msg_{uuid.uuid4().hex}", llm.model_name, call.reply, [chat.request])
    show_thinking = body.thinking is None or body.thinking.display != "omitted"
    dialect = MessagesDialect(answer, chat.parser(), show_thinking=show_thinking, page_size=serving.cached_page_size)
    stream = serving.submit(answer)
    if body.stream:
        return EventStream(stream, dialect, error_event)
    return await answer_whole(stream, dialect, receive)


async def count_prompt(serving: Serving, body: CountTokensRequest) -> int:
    """How many tokens a conversation would be."""
    serving.check_model(body.model)
    call = parse_messages(body, partial(chat_call, serving))
    with errors_name(NAMES):
        chat = await serving.render(call.messages, call.options)
    return len(chat.token_ids)
