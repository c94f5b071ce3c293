"""Answering a body of /v1/chat/completions. Other protocols that are conversations use its parts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.responses import Response
from starlette.types import Receive

from jaxpaged import PreparedRequest, SamplingParams, TokensPrompt, with_special_tokens
from server.answers.answer import Answer
from server.answers.assistant import AssistantParser, PlainText
from server.answers.connected import while_connected
from server.answers.streaming import EventStream, answer_whole
from server.openai.chat_dialect import ChatDialect
from server.openai.message import MessageStyle
from server.openai.parse import ChatCall, begun_answer, echoed_message, parse_chat
from server.openai.schema import ChatRequest
from server.serving import Serving


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A rendered conversation. `new_parser` makes a parser for each of its answers; None: all is content."""

    request: PreparedRequest
    new_parser: Callable[[], AssistantParser] | None

    def parser(self) -> AssistantParser:
        """For a call that has one answer."""
        return (self.new_parser or PlainText)()


async def answer_chat(serving: Serving, body: ChatRequest, receive: Receive) -> Response:
    """Answer a body of /v1/chat/completions."""
    llm = serving.llm
    serving.check_model(body.model)
    call = chat_call(serving, body)
    chat = await while_connected(receive, prepare_chat(serving, call))
    answer = Answer(f"chatcmpl-{uuid.uuid4().hex}", llm.model_name, call.reply, [chat.request])
    style = MessageStyle(call.reply.reasoning, call.tools.legacy)
    dialect = ChatDialect(answer, chat.new_parser, style, echoed_message(call))
    stream = serving.submit(answer)
    if call.reply.stream:
        return EventStream(stream, dialect)
    return await answer_whole(stream, dialect, receive)


def chat_call(serving: Serving, body: ChatRequest) -> ChatCall:
    """A chat, for this model and this server. Raises ApiError and RequestError, naming the field."""
    options = serving.options
    call = parse_chat(
        body,
        serving.llm.sampling_defaults,
        serving.parsers,
        force_usage=options.force_include_usage,
        max_stop_strings=options.max_stop_strings,
    )
    return replace(call, reply=serving.reply(call.reply))


async def prepare_chat(serving: Serving, call: ChatCall) -> PreparedChat:
    """Render and tokenize a conversation. Raises RequestError."""
    llm = serving.llm
    chat = await serving.render(call.messages, call.options)
    ids = chat.token_ids
    if call.add_special_tokens:
        ids = with_special_tokens(llm.get_tokenizer(), ids)
    if call.truncation is not None:
        ids = call.truncation.apply(ids, llm.info.max_model_len, call.params.max_tokens)
    prompt = TokensPrompt(prompt_token_ids=ids, prompt=chat.prompt)
    if call.cache_salt is not None:
        prompt["cache_salt"] = call.cache_salt
    params = _thinking_first(serving, call, chat.prompt or "")
    opened = serving.parsers.thought_opened(chat.prompt or "", begun_answer(call))
    request = await llm.prepare(prompt, params, beam=call.beam, priority=call.priority, thought_opened=opened)
    new_parser = serving.parsers.parser(
        call.tools, request.prompt or "", begun=begun_answer(call), show_special=call.reply.show_special
    )
    return PreparedChat(request, new_parser)


def _thinking_first(serving: Serving, call: ChatCall, prompt: str) -> SamplingParams:
    """What the call asks of the engine; where its answer must have a form, a thought may come before that."""
    form = call.params.structured_outputs
    thought = None if form is None else serving.parsers.thought(prompt, begun_answer(call))
    if form is None or thought is None:
        return call.params
    return replace(call.params, structured_outputs=replace(form, thought=thought))
