"""Request bodies to what the engine takes. One parser per dialect; routes never look into a body themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxpaged import BeamSearchParams, ChatOptions, RequestOutputKind, SamplingParams, Truncation
from server.answers.answer import Reply
from server.answers.parsers import NO_PARSERS, AnswerParsers
from server.answers.tools.choice import ToolUse
from server.errors import bad_request
from server.flags import MAX_STOP_STRINGS
from server.openai.beams import sampling_or_beams
from server.openai.chat_tools import chat_tool_use
from server.openai.echo_only import is_echo_only
from server.openai.embeds import embeds_prompts
from server.openai.known_fields import UNSERVED, asks_for_something
from server.openai.schema import ChatMessage, ChatRequest, CompletionRequest, Sampling
from server.openai.structured import structured_outputs, with_calls

MAX_PROMPTS = 1024
MAX_SEQUENCES = 2048

# wire fields that are SamplingParams fields of the same name
_SAMPLING_FIELDS = (
    "n max_tokens temperature top_p presence_penalty frequency_penalty seed stop logit_bias top_k min_p "
    "repetition_penalty stop_token_ids min_tokens ignore_eos bad_words allowed_token_ids prompt_logprobs "
    "logprob_token_ids stream_interval include_stop_str_in_output skip_special_tokens spaces_between_special_tokens "
    "repetition_detection thinking_token_budget"
).split()

Prompt = str | list[int] | np.ndarray  # text, token ids, or embeddings [prompt_len, hidden]


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A parsed body of /v1/completions."""

    prompts: list[Prompt]
    params: SamplingParams
    beam: BeamSearchParams | None
    reply: Reply
    priority: int
    cache_salt: str | None
    truncation: Truncation | None
    add_special_tokens: bool


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A parsed body of /v1/chat/completions."""

    messages: list[dict[str, Any]]
    options: ChatOptions
    tools: ToolUse
    params: SamplingParams
    beam: BeamSearchParams | None
    reply: Reply
    priority: int
    cache_salt: str | None
    truncation: Truncation | None
    add_special_tokens: bool


def parse_completion(
    body: CompletionRequest, defaults: Mapping[str, Any], *, force_usage: bool, max_stop_strings: int = MAX_STOP_STRINGS
) -> CompletionCall:
    """`defaults` are the model's own sampling settings. Raises ApiError and RequestError, naming the field."""
    _refuse_unserved(body, served=("prompt_embeds",))
    prompts = [*embeds_prompts(body), *([] if body.prompt is None else _prompts(body.prompt))]
    if not prompts:
        raise bad_request("prompt must be a text, a list of token ids, or a list of either.", "prompt")
    echo, echo_only = bool(body.echo), is_echo_only(body)
    sampling = _sampling(body, defaults, max_stop_strings)
    if echo_only:
        sampling["max_tokens"] = 1  # which is not shown
    if body.logprobs is not None:
        sampling["logprobs"] = body.logprobs
        if echo and body.prompt_logprobs is None:
            sampling["prompt_logprobs"] = body.logprobs
    params, beam = sampling_or_beams(body, sampling)
    _check_sequences(len(prompts), params.n if beam is None else beam.beam_width)
    return CompletionCall(
        prompts=prompts,
        params=params,
        beam=beam,
        reply=replace(_reply(body, force_usage), echo=echo, echo_only=echo_only),
        priority=body.priority or 0,
        cache_salt=body.cache_salt,
        truncation=_truncation(body),
        add_special_tokens=body.add_special_tokens is not False,
    )


def parse_chat(
    body: ChatRequest,
    defaults: Mapping[str, Any],
    parsers: AnswerParsers = NO_PARSERS,
    *,
    force_usage: bool,
    max_stop_strings: int = MAX_STOP_STRINGS,
) -> ChatCall:
    """`defaults` are the model's own sampling settings. Raises ApiError and RequestError, naming the field."""
    _refuse_unserved(body)
    sampling = {"max_tokens": None, **_sampling(body, defaults, max_stop_strings)}
    if body.max_completion_tokens is not None:
        sampling["max_tokens"] = body.max_completion_tokens
    if body.logprobs:
        sampling["logprobs"] = body.top_logprobs or 0
        if body.echo and body.prompt_logprobs is None and not body.stream:  # where it could not be shown
            sampling["prompt_logprobs"] = body.top_logprobs or 0
    elif body.logprobs is False and body.logprob_token_ids:
        raise bad_request("logprob_token_ids needs logprobs: true.", "logprob_token_ids")
    elif body.top_logprobs is not None:
        raise bad_request("top_logprobs needs logprobs: true.", "top_logprobs")
    tools = chat_tool_use(body, parsers)
    sampling["structured_outputs"] = with_calls(sampling["structured_outputs"], tools, parsers.calls(tools))
    if parsers.keep_special(tools):
        sampling["skip_special_tokens"] = False
    params, beam = sampling_or_beams(body, sampling)
    return ChatCall(
        messages=chat_messages(body.messages),
        options=_chat_options(body, tools),
        tools=tools,
        params=params,
        beam=beam,
        reply=replace(
            _reply(body, force_usage),
            echo=bool(body.echo),
            prompt_logprobs=params.prompt_logprobs is not None,
            reasoning=body.include_reasoning is not False,
            show_special=body.skip_special_tokens is False,
        ),
        priority=body.priority or 0,
        cache_salt=body.cache_salt,
        truncation=_truncation(body),
        add_special_tokens=bool(body.add_special_tokens),
    )


def chat_messages(messages: list[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as they were sent: rendering gives them their normal form."""
    return [message.model_dump(exclude_unset=True) for message in messages]


def begun_answer(call: ChatCall) -> str:
    """The part of the answer that the conversation itself gives (continue_final_message)."""
    return _last_text(call.messages) if call.options.continue_final_message else ""


def echoed_message(call: ChatCall) -> str:
    """What echo puts before the answer: the last message, where it is the assistant's as the answer is."""
    return _last_text(call.messages) if call.reply.echo and call.messages[-1]["role"] == "assistant" else ""


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1].get("content")
    texts = [content] if isinstance(content, str) else content or []
    return "".join(text if isinstance(text, str) else str(text.get("text") or "") for text in texts)


def _chat_options(body: ChatRequest, tools: ToolUse) -> ChatOptions:
    kwargs = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", body.reasoning_effort)
        kwargs.setdefault("enable_thinking", body.reasoning_effort != "none")
    if body.documents is not None:
        kwargs["documents"] = body.documents
    options = ChatOptions(
        add_generation_prompt=body.add_generation_prompt is not False and not body.continue_final_message,
        continue_final_message=bool(body.continue_final_message),
        tools=tools.tools if tools.active else None,
        chat_template=body.chat_template,
        template_kwargs=kwargs or None,
    )
    if body.add_generation_prompt and body.continue_final_message:
        raise bad_request(
            "add_generation_prompt and continue_final_message exclude each other.", "continue_final_message"
        )
    options.validate()
    return options


def _sampling(body: Sampling, defaults: Mapping[str, Any], max_stop_strings: int) -> dict[str, Any]:
    if isinstance(body.stop, list) and len(body.stop) > max_stop_strings:
        raise bad_request(
            f"stop holds {len(body.stop)} strings; at most {max_stop_strings} are taken (--max-stop-strings).", "stop"
        )
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise bad_request("best_of is not served; leave it out, or make it equal to n.", "best_of")
    if body.stream and body.prompt_logprobs is not None:
        raise bad_request("prompt_logprobs cannot be streamed; set stream to false.", "prompt_logprobs")
    given = {name: getattr(body, name) for name in _SAMPLING_FIELDS}
    kind = RequestOutputKind.DELTA if body.stream else RequestOutputKind.FINAL_ONLY
    explicit = {name: value for name, value in given.items() if value is not None}
    return {**defaults, **explicit, "structured_outputs": structured_outputs(body), "output_kind": kind}


def _reply(body: Sampling, force_usage: bool) -> Reply:
    options = body.stream_options
    if options is not None and not body.stream:
        raise bad_request("stream_options needs stream: true.", "stream_options")
    include_usage = bool(options and options.include_usage)
    return Reply(
        stream=bool(body.stream),
        include_usage=force_usage or include_usage,
        continuous_usage=force_usage or (include_usage and bool(options and options.continuous_usage_stats)),
        return_token_ids=bool(body.return_token_ids),
        tokens_as_ids=bool(body.return_tokens_as_token_ids),
        prompt_logprobs=body.prompt_logprobs is not None,
    )


def _prompts(prompt: str | list[int] | list[str] | list[list[int]]) -> list[Prompt]:
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise bad_request("prompt is an empty list; give a text or token ids.", "prompt")
    if isinstance(prompt[0], int):
        return [prompt]
    if len(prompt) > MAX_PROMPTS:
        raise bad_request(f"prompt holds {len(prompt)} prompts; at most {MAX_PROMPTS} are taken.", "prompt")
    return prompt  # type: ignore[return-value]


def _check_sequences(prompts: int, n: int) -> None:
    if prompts * n > MAX_SEQUENCES:
        raise bad_request(f"{prompts} prompts with n={n} are too many; at most {MAX_SEQUENCES} completions.", "n")


def _truncation(body: Sampling) -> Truncation | None:
    tokens = body.truncate_prompt_tokens
    return None if tokens is None else Truncation(tokens, body.truncation_side)


def _refuse_unserved(body: Sampling, served: Collection[str] = ()) -> None:
    for name in sorted(body.model_fields_set & UNSERVED.keys() - set(served)):
        if asks_for_something(name, getattr(body, name)):
            raise bad_request(f"{name} is not served by this version; leave it out.", name)
