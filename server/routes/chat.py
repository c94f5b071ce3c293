"""POST /v1/chat/completions."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive

from jaxpaged import TokensPrompt
from jaxpaged.frontend.input_processor import PreparedRequest
from server.body import read_body
from server.chat_dialect import ChatDialect
from server.chat_message import MessageStyle
from server.dialect import Answer
from server.openapi import takes
from server.parse import ChatCall
from server.schema import ChatRequest
from server.serving import Serving
from server.streaming import EventStream, answer_at_once
from server.truncation import truncated


def chat_router(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/chat/completions", openapi_extra=takes(ChatRequest))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        body = await read_body(request, ChatRequest, serving.options.max_body_bytes)
        return await answer_chat(serving, body, request.receive)

    return router


async def answer_chat(serving: Serving, body: ChatRequest, receive: Receive) -> Response:
    """Answer a body of /v1/chat/completions."""
    llm = serving.llm
    serving.check_model(body.model)
    call = serving.parse_chat(body)
    prepared = await prepare_chat(serving, call)
    answer = Answer(f"chatcmpl-{uuid.uuid4().hex}", llm.model_name, call.reply, [prepared])
    style = MessageStyle(call.reply.reasoning, call.tools.legacy)
    dialect = ChatDialect(answer, serving.make_parser(call, prepared), style)
    stream = llm.submit([prepared])
    if call.reply.stream:
        return EventStream(stream, dialect)
    return await answer_at_once(stream, dialect, receive)


async def prepare_chat(serving: Serving, call: ChatCall) -> PreparedRequest:
    """Render and tokenize a conversation. Raises RequestError."""
    llm = serving.llm
    chat = await llm.render(call.messages, call.options)
    ids = chat.token_ids
    if call.truncate is not None:
        ids = truncated(ids, call.truncate, llm.info.max_model_len, call.params)
    prompt = TokensPrompt(prompt_token_ids=ids, prompt=chat.prompt)
    if call.cache_salt is not None:
        prompt["cache_salt"] = call.cache_salt
    params = serving.thinking_first(call, chat.prompt or "")
    return await llm.prepare(prompt, params, beam=call.beam, priority=call.priority)
