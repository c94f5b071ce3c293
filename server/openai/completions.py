"""Answering a body of /v1/completions."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import numpy as np
from starlette.responses import Response
from starlette.types import Receive

from jaxpaged import EmbedsPrompt, PreparedRequest, TextPrompt, TokensPrompt
from server.answers.answer import Answer
from server.answers.connected import while_connected
from server.answers.streaming import EventStream, answer_whole
from server.errors import bad_request
from server.openai.completion_dialect import CompletionDialect
from server.openai.embeds import is_large
from server.openai.parse import CompletionCall, Prompt, parse_completion
from server.openai.schema import CompletionRequest
from server.serving import Serving


async def answer_completion(serving: Serving, body: CompletionRequest, receive: Receive) -> Response:
    """Answer a body of /v1/completions."""
    llm = serving.llm
    serving.check_model(body.model)
    call = await completion_call_soon(serving, body)
    batch = await while_connected(receive, prepare_completions(serving, call))
    answer = Answer(f"cmpl-{uuid.uuid4().hex}", llm.model_name, call.reply, batch)
    dialect = CompletionDialect(answer, _echoes(serving, call, batch))
    stream = serving.submit(answer)
    if call.reply.stream:
        return EventStream(stream, dialect)
    return await answer_whole(stream, dialect, receive)


async def completion_call_soon(serving: Serving, body: CompletionRequest) -> CompletionCall:
    """completion_call(), in a thread where it has many embeddings to read."""
    if is_large(body):
        return await asyncio.to_thread(completion_call, serving, body)
    return completion_call(serving, body)


def completion_call(serving: Serving, body: CompletionRequest) -> CompletionCall:
    """A completion, for this model and this server. Raises ApiError and RequestError, naming the field."""
    if body.prompt_embeds is not None and not serving.llm.config.model.enable_prompt_embeds:
        raise bad_request("prompt_embeds is off; start with --enable-prompt-embeds.", "prompt_embeds")
    options = serving.options
    call = parse_completion(
        body,
        serving.llm.sampling_defaults,
        force_usage=options.force_include_usage,
        max_stop_strings=options.max_stop_strings,
    )
    return replace(call, reply=serving.reply(call.reply))


async def prepare_completions(serving: Serving, call: CompletionCall) -> list[PreparedRequest]:
    """Tokenize the prompts of a call in turn. Raises RequestError."""
    return [await prepare_completion(serving, call, prompt) for prompt in call.prompts]


async def prepare_completion(serving: Serving, call: CompletionCall, prompt: Prompt) -> PreparedRequest:
    """Tokenize one prompt of a call. Raises RequestError."""
    llm = serving.llm
    given: TextPrompt | TokensPrompt | EmbedsPrompt
    if isinstance(prompt, np.ndarray):
        given = EmbedsPrompt(prompt_embeds=prompt)
    elif isinstance(prompt, str) and call.truncation is None:
        given = TextPrompt(prompt=prompt)
    else:
        ids = prompt
        if isinstance(ids, str):
            ids = await llm.encode_text(ids, add_special_tokens=call.add_special_tokens)
        if call.truncation is not None:
            ids = call.truncation.apply(ids, llm.info.max_model_len, call.params.max_tokens)
        given = TokensPrompt(prompt_token_ids=ids)
    if call.cache_salt is not None:
        given["cache_salt"] = call.cache_salt
    tokenization = {} if call.add_special_tokens else {"add_special_tokens": False}
    return await llm.prepare(
        given, call.params, beam=call.beam, priority=call.priority, tokenization_kwargs=tokenization
    )


def _echoes(serving: Serving, call: CompletionCall, batch: list[PreparedRequest]) -> list[str]:
    """The prompts as text, where they are to be echoed."""
    if not call.reply.echo:
        return []
    return [
        prepared.prompt if prepared.prompt is not None else serving.llm.decode(prepared.prompt_token_ids)
        for prepared in batch
    ]
