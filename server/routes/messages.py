"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive

from server.body import read_body
from server.chat_body import errors_name
from server.delta_answer import answer_from_deltas
from server.dialect import Answer
from server.errors import json_response
from server.messages.dialect import MessagesDialect, error_event
from server.messages.parse import NAMES, parse_messages
from server.messages.schema import CountTokensRequest, MessagesRequest
from server.openapi import takes
from server.routes.chat import prepare_chat
from server.serving import Serving
from server.streaming import EventStream


def messages_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["Anthropic"])
    llm, options = serving.llm, serving.options

    @router.post("/v1/messages", openapi_extra=takes(MessagesRequest))
    async def create_message(request: Request) -> Response:
        """Answer a conversation."""
        body = await read_body(request, MessagesRequest, options.max_body_bytes)
        return await answer_message(serving, body, request.receive)

    @router.post("/v1/messages/count_tokens", openapi_extra=takes(CountTokensRequest))
    async def count_tokens(request: Request) -> Response:
        """How many tokens a conversation would be."""
        body = await read_body(request, CountTokensRequest, options.max_body_bytes)
        serving.check_model(body.model)
        call = parse_messages(body, serving.parse_chat)
        with errors_name(NAMES):
            chat = await llm.render(call.messages, call.options)
        return json_response(200, {"input_tokens": len(chat.token_ids)})

    return router


async def answer_message(serving: Serving, body: MessagesRequest, receive: Receive) -> Response:
    """Answer a body of /v1/messages."""
    llm = serving.llm
    serving.check_model(body.model)
    call = parse_messages(body, serving.parse_chat)
    with errors_name(NAMES):
        prepared = await prepare_chat(serving, call)
    answer = Answer(f"msg_{uuid.uuid4().hex}", llm.model_name, call.reply, [prepared])
    show_thinking = body.thinking is None or body.thinking.display != "omitted"
    dialect = MessagesDialect(answer, serving.assistant_parser(call, prepared), show_thinking=show_thinking)
    stream = llm.submit([prepared])
    if body.stream:
        return EventStream(stream, dialect, error_event)
    return await answer_from_deltas(stream, dialect, receive)
