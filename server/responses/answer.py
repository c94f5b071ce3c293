"""Answering a body of /v1/responses."""

from __future__ import annotations

import uuid
from functools import partial

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from server.answers.answer import Answer
from server.answers.connected import while_connected
from server.answers.streaming import EventStream, answer_whole
from server.errors import ApiError, bad_request, json_response
from server.openai.chat import chat_call, prepare_chat
from server.openai.chat_body import errors_name
from server.responses.background import BackgroundResponses
from server.responses.dialect import ResponsesDialect
from server.responses.parse import NAMES, parse_responses
from server.responses.schema import ResponsesRequest
from server.responses.store import ResponseStore
from server.responses.texts import Message
from server.serving import Serving


async def answer_response(
    serving: Serving,
    body: ResponsesRequest,
    receive: Receive,
    store: ResponseStore,
    background: BackgroundResponses,
    owner: str,
) -> Response:
    """Answer a body of /v1/responses."""
    llm = serving.llm
    serving.check_model(body.model)
    if body.background:
        _check_background(body, store)
    if background.is_running(body.previous_response_id or ""):
        raise bad_request("The previous response has not ended yet.", "previous_response_id")
    call = parse_responses(body, _before(store, owner, body.previous_response_id), partial(chat_call, serving))
    with errors_name(NAMES):
        work = prepare_chat(serving, call.chat)
        chat = await (work if body.background else while_connected(receive, work))
    answer = Answer(f"resp_{uuid.uuid4().hex}", llm.model_name, call.chat.reply, [chat.request])
    dialect = ResponsesDialect(
        answer,
        body,
        call,
        chat.parser(),
        store=None if body.store is False else store,
        owner=owner,
        page_size=serving.cached_page_size,
    )
    stream = serving.submit(answer)
    if body.background:
        return json_response(200, background.begin(answer.id, stream, dialect))
    if body.stream:
        return EventStream(stream, dialect, dialect.error_event)
    return await answer_whole(stream, dialect, receive)


def _check_background(body: ResponsesRequest, store: ResponseStore) -> None:
    if body.stream:
        raise bad_request("background does not go with stream; ask for the response by its id.", "background")
    if body.store is False or not store.keeps_any:
        raise bad_request("background needs responses that are stored; leave store out.", "background")


def _before(store: ResponseStore, owner: str, response_id: str | None) -> list[Message]:
    if response_id is None:
        return []
    entry = store.get(owner, response_id)
    if entry is None:
        raise ApiError(
            400,
            "There is no such previous response: it was not stored, or has made room for others. Send the whole input.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    messages: list[Message] = msgspec.json.decode(entry.messages)
    return messages
