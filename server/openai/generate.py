"""Answering a body of /inference/v1/generate: token ids in, token ids out, with vLLM's own sampling parameters."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive

from server.answers.answer import Answer
from server.answers.connected import while_connected
from server.answers.streaming import EventStream, answer_whole
from server.errors import bad_request
from server.openai.chat_body import errors_name
from server.openai.completions import prepare_completion
from server.openai.generate_dialect import GenerateDialect
from server.openai.parse import CompletionCall, parse_completion
from server.openai.schema import Body, CompletionRequest, Int64, Sampling, StreamOptions, TokenId
from server.serving import Serving

# fields of SamplingParams that say how text is made or stored, and ask for nothing here
_HARMLESS = frozenset(("detokenize", "output_kind", "flat_logprobs", "skip_reading_prefix_cache"))
_NOT_PARAMETERS = frozenset("model prompt prompt_embeds stream stream_options echo suffix".split())
_SERVED = frozenset(CompletionRequest.model_fields) - _NOT_PARAMETERS


class GenerateRequest(Body):
    """POST /inference/v1/generate. `sampling_params` has the fields of vLLM's SamplingParams."""

    token_ids: Annotated[list[TokenId], Field(min_length=1)]
    sampling_params: dict[str, Any]
    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_salt: str | None = None
    priority: Int64 | None = None
    # not served yet
    features: Any = None
    kv_transfer_params: Any = None


async def answer_generate(serving: Serving, body: GenerateRequest, receive: Receive) -> Response:
    """Answer a body of /inference/v1/generate."""
    serving.check_model(body.model)
    call, request = await while_connected(receive, _prepared(serving, body))
    answer = Answer(body.request_id or uuid.uuid4().hex, serving.llm.model_name, call.reply, [request])
    dialect = GenerateDialect(answer)
    stream = serving.submit(answer)
    if call.reply.stream:
        return EventStream(stream, dialect)
    return await answer_whole(stream, dialect, receive)


async def _prepared(serving: Serving, body: GenerateRequest) -> tuple[CompletionCall, Any]:
    for name in ("features", "kv_transfer_params"):
        if getattr(body, name) not in (None, {}):
            raise bad_request(f"{name} is not served by this version; leave it out.", name)
    sampling = _sampling_fields(body.sampling_params)
    outer = {name: getattr(body, name) for name in ("stream", "cache_salt", "priority", "kv_transfer_params")}
    if body.stream_options is not None:
        outer["stream_options"] = body.stream_options.model_dump()
    names = {"prompt": "token_ids", **{name: f"sampling_params.{name}" for name in sampling}}
    with errors_name(names):
        completion = CompletionRequest.model_validate({**sampling, **outer, "prompt": [0]})
        completion.prompt = body.token_ids  # which has been validated, and may be long
        call = parse_completion(
            completion,
            {"max_tokens": None},
            force_usage=serving.options.force_include_usage,
            max_stop_strings=serving.options.max_stop_strings,
        )
        return call, await prepare_completion(serving, call, body.token_ids)


def _sampling_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """As fields of a completion; what is unknown may only ask for nothing."""
    fields = {}
    for name, value in given.items():
        if name in _SERVED:
            fields[name] = value
        elif name == "extra_args":
            fields["vllm_xargs"] = value
        elif name not in _HARMLESS and value not in (None, False, 0, [], {}):
            shown = name[:64]
            raise bad_request(
                f"sampling_params has no field {shown!r} that is served here.", f"sampling_params.{shown}"
            )
    unset = Sampling.model_fields.keys() & {name for name, value in fields.items() if value is None}
    return {name: value for name, value in fields.items() if name not in unset}
