"""The wire types: what a request body may hold. Numbers are strict (no booleans, no strings, no NaN).

Fields that only hint (HINTS in known_fields.py) and unknown ones are ignored, the latter with a line in the log; fields
that would change the meaning of an answer and that nothing serves yet are named in UNSERVED there and refused by
parse.py. Ranges are SamplingParams' job.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from jaxpaged import token_id_list_limits
from server.openai.known_fields import note_ignored

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TokenId = Int64
LIST_LIMITS = token_id_list_limits()


def _check_count(value: Any, info: ValidationInfo) -> Any:
    """Refuse a list that is too long before its entries are looked at: a million of them would hold the event loop."""
    name, most = info.field_name or "", LIST_LIMITS[info.field_name or ""]
    if isinstance(value, list) and len(value) > most:
        raise PydanticCustomError("too_long", f"{name} holds {len(value)} entries; at most {most} are taken")
    return value


ShortTokenIds = Annotated[list[TokenId] | None, BeforeValidator(_check_count)]
MAX_DOCUMENTS = 1024
Template = Annotated[str | None, Field(min_length=1, max_length=2**18)]
Content = str | list[dict[str, Any] | str] | None


class Body(BaseModel):
    """Strict, and deaf to unknown fields."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class StreamOptions(Body):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampling(Body):
    """The fields that /v1/completions and /v1/chat/completions share."""

    model: str | None = None
    n: Int64 | None = None
    max_tokens: Int64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Int64 | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, float] | None = None
    top_k: Int64 | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: ShortTokenIds = None
    min_tokens: Int64 | None = None
    ignore_eos: bool | None = None
    bad_words: list[str] | None = None
    allowed_token_ids: ShortTokenIds = None
    prompt_logprobs: Int64 | None = None
    logprob_token_ids: ShortTokenIds = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Int64 | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: str | None = None
    priority: Int64 | None = None
    stream_interval: Int64 | None = None
    thinking_token_budget: Int64 | None = None
    use_beam_search: bool | None = None
    length_penalty: float | None = None
    response_format: Any = None
    structured_outputs: Any = None
    guided_json: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    guided_json_object: bool | None = None
    guided_whitespace_pattern: str | None = None
    structural_tag: Any = None
    # not served yet: refused when they ask for something (parse.py)
    best_of: Int64 | None = None
    prompt_embeds: Any = None
    kv_transfer_params: Any = None
    repetition_detection: dict[str, Any] | None = None
    vllm_xargs: Any = None
    watermarking: Any = None
    ec_transfer_params: Any = None
    return_token_offsets: Any = None
    routed_experts_prompt_start: Any = None
    prompt_logprob_token_ids: Any = None
    prompt_logprob_start: Any = None
    trace_decode_token_ids: Any = None
    logits_processors: Any = None
    extra_args: Any = None
    early_stopping: Any = None

    @model_validator(mode="before")
    @classmethod
    def _name_ignored_fields(cls, body: Any) -> Any:
        if isinstance(body, dict):
            note_ignored(body, cls.model_fields.keys())
        return body


class CompletionRequest(Sampling):
    """POST /v1/completions."""

    prompt: str | list[TokenId] | list[str] | list[list[TokenId]] | None = None
    prompt_embeds: str | list[str] | None = None
    logprobs: Int64 | None = None
    echo: bool | None = None
    suffix: Any = None


class ChatMessage(BaseModel):
    """One message; a template may read fields that are not named here (tool_calls, name, reasoning, ...)."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Content = None


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=16384)]
    logprobs: bool | None = None
    top_logprobs: Int64 | None = None
    max_completion_tokens: Int64 | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    echo: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    include_reasoning: bool | None = None
    chat_template: Template = None
    documents: Annotated[list[dict[str, Any]] | None, Field(max_length=MAX_DOCUMENTS)] = None
    # not served yet
    audio: Any = None
    modalities: Any = None
    web_search_options: Any = None
    mm_processor_kwargs: Any = None
    media_io_kwargs: Any = None
    return_prompt_text: Any = None


class TokenizeRequest(Body):
    """POST /tokenize: a prompt or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=16384)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: Template = None
    chat_template_kwargs: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=1024)] | None = None
    return_token_strs: bool | None = None
    # not served yet
    mm_processor_kwargs: Any = None


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[TokenId]
