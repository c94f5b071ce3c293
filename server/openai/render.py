"""Prompts as the model would see them, without an answer: what vLLM's render routes give, and what generate takes."""

from __future__ import annotations

import uuid
from dataclasses import fields
from typing import Any

from jaxpaged import PreparedRequest, RequestOutputKind, SamplingParams
from server.errors import bad_request
from server.openai.chat import chat_call, prepare_chat
from server.openai.completions import completion_call_soon, prepare_completion
from server.openai.schema import ChatRequest, CompletionRequest, Sampling
from server.serving import Serving

_OURS = ("output_kind", "structured_outputs")  # written in another form, or not at all


async def render_chat_body(serving: Serving, body: ChatRequest) -> dict[str, Any]:
    """A body of /v1/chat/completions as one of /inference/v1/generate. Raises ApiError and RequestError."""
    serving.check_model(body.model)
    _refuse_beams(body)
    chat = await prepare_chat(serving, chat_call(serving, body))
    return _generate_body(serving, f"chatcmpl-{uuid.uuid4().hex}", body, chat.request)


async def render_completion_body(serving: Serving, body: CompletionRequest) -> list[dict[str, Any]]:
    """A body of /v1/completions as bodies of /inference/v1/generate, one a prompt."""
    serving.check_model(body.model)
    _refuse_beams(body)
    if body.prompt_embeds is not None:
        raise bad_request("prompt_embeds are not rendered: they have no token ids.", "prompt_embeds")
    call = await completion_call_soon(serving, body)
    batch = [await prepare_completion(serving, call, prompt) for prompt in call.prompts]
    return [_generate_body(serving, f"cmpl-{uuid.uuid4().hex}", body, prepared) for prepared in batch]


def _generate_body(serving: Serving, request_id: str, body: Sampling, prepared: PreparedRequest) -> dict[str, Any]:
    options = body.stream_options
    return {
        "request_id": request_id,
        "token_ids": prepared.prompt_token_ids,
        "features": None,
        "sampling_params": sampling_fields(prepared.params),
        "model": body.model or serving.llm.model_name,
        "stream": bool(body.stream),
        "stream_options": None if options is None else options.model_dump(),
        "cache_salt": body.cache_salt,
        "priority": body.priority or 0,
        "kv_transfer_params": None,
    }


def sampling_fields(params: SamplingParams) -> dict[str, Any]:
    """SamplingParams as JSON, under their own names; what is private stays out."""
    names = [field.name for field in fields(params) if not field.name.startswith("_") and field.name not in _OURS]
    shown = {name: getattr(params, name) for name in names}
    if params.logit_bias is not None:
        shown["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    form = params.structured_outputs
    shown["structured_outputs"] = None if form is None else form.given()
    shown["output_kind"] = RequestOutputKind.CUMULATIVE.value
    return shown


def _refuse_beams(body: Sampling) -> None:
    if body.use_beam_search:
        raise bad_request(
            "use_beam_search is not rendered: a beam search has no sampling parameters.", "use_beam_search"
        )
