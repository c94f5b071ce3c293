"""The forms in which a prompt may be given, and one form for the rest of the code."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from jaxpaged.errors import RequestError


class TextPrompt(TypedDict):
    """A prompt as text."""

    prompt: str
    cache_salt: NotRequired[str]


class TokensPrompt(TypedDict):
    """A prompt as token ids; `prompt` is only shown in the output."""

    prompt_token_ids: Sequence[int]
    prompt: NotRequired[str]
    cache_salt: NotRequired[str]


class EmbedsPrompt(TypedDict):
    """A prompt as embeddings of shape [prompt_len, hidden]."""

    prompt_embeds: Any
    cache_salt: NotRequired[str]


PromptType = str | Sequence[int] | TextPrompt | TokensPrompt | EmbedsPrompt

_KNOWN_KEYS = frozenset(("prompt", "prompt_token_ids", "prompt_embeds", "cache_salt"))
_MAX_SALT = 128


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt whose form has been checked: text or token ids (or both, then the ids count), or embeddings."""

    text: str | None = None
    token_ids: list[int] | None = None
    embeds: np.ndarray | None = None  # float32 [prompt_len, hidden]
    cache_salt: str | None = None


def prompt_list(prompts: PromptType | Sequence[PromptType]) -> list[PromptType]:
    """A batch as a list: a single prompt (text, a list of ids, a mapping) becomes a batch of one."""
    if isinstance(prompts, str | Mapping):
        return [prompts]
    batch: list[Any] = list(prompts)
    return [batch] if batch and _is_integer(batch[0]) else batch


def parse_prompt(prompt: PromptType) -> Prompt:
    """Check the form of a prompt, not yet its length or its ids. Raises RequestError."""
    if isinstance(prompt, str):
        return Prompt(text=prompt)
    if not isinstance(prompt, Mapping):
        return Prompt(token_ids=_token_ids(prompt))
    fields: Mapping[str, Any] = prompt
    unknown = sorted(set(fields) - _KNOWN_KEYS)
    if unknown:
        raise RequestError(f"A prompt has no {', '.join(unknown)} here; known are {', '.join(sorted(_KNOWN_KEYS))}.")
    salt = _cache_salt(fields.get("cache_salt"))
    if fields.get("prompt_embeds") is not None:
        return Prompt(embeds=_embeds(fields["prompt_embeds"]), cache_salt=salt)
    text = fields.get("prompt")
    if text is not None and not isinstance(text, str):
        raise RequestError("prompt must be a string.", "prompt")
    if fields.get("prompt_token_ids") is not None:
        return Prompt(text=text, token_ids=_token_ids(fields["prompt_token_ids"]), cache_salt=salt)
    if text is None:
        raise RequestError("A prompt needs one of prompt, prompt_token_ids and prompt_embeds.", "prompt")
    return Prompt(text=text, cache_salt=salt)


def _token_ids(token_ids: object) -> list[int]:
    if not isinstance(token_ids, Sequence | np.ndarray) or isinstance(token_ids, str | bytes):
        raise RequestError(f"A prompt is text, token ids or a mapping, not {type(token_ids).__name__}.", "prompt")
    try:
        return [operator.index(token_id) for token_id in token_ids]
    except TypeError as error:
        raise RequestError(f"prompt_token_ids must hold integers only: {error}.", "prompt_token_ids") from error


def _embeds(embeds: object) -> np.ndarray:
    try:
        array = np.ascontiguousarray(embeds, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(f"prompt_embeds is not an array of numbers: {error}.", "prompt_embeds") from error
    if array.ndim != 2:
        raise RequestError(f"prompt_embeds has {array.ndim} dimensions; give [prompt_len, hidden].", "prompt_embeds")
    if not np.isfinite(array).all():
        raise RequestError("prompt_embeds holds numbers that are not finite.", "prompt_embeds")
    return array


def _cache_salt(salt: object) -> str | None:
    if salt is None:
        return None
    if not isinstance(salt, str) or not 0 < len(salt) <= _MAX_SALT:
        raise RequestError(f"cache_salt must be a string of 1 to {_MAX_SALT} characters.", "cache_salt")
    return salt


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer)
