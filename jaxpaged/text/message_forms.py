"""A conversation in the normal form as one template takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from jaxpaged.errors import RequestError
from jaxpaged.text.conversation import content_texts
from jaxpaged.text.template_abilities import TemplateAbilities

Conversation = list[dict[str, Any]]
ContentFormat = Literal["auto", "string", "openai"]
_LEADS = ("system", "developer")


def fitted(conversation: Conversation, abilities: TemplateAbilities, content_format: ContentFormat) -> Conversation:
    """Contents, arguments and the role "developer" as the template wants them."""
    return [_fitted_message(message, abilities, content_format) for message in conversation]


def system_texts(conversation: Conversation) -> list[str]:
    """What a rendered conversation must show of its system messages."""
    said = [text for message in conversation if message["role"] in _LEADS for text in content_texts(message["content"])]
    return [text.strip() for text in said]


def forms(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation, then what a strict template may take instead of it.

    Where not one system message leads it, all of them are joined to the first; lists of parts become texts.
    """
    yield conversation
    late = any(message["role"] in _LEADS for message in conversation[1:])
    if late:
        yield _system_first(conversation)
    if any(isinstance(message["content"], list) for message in conversation):
        texts = [{**message, "content": "\n".join(content_texts(message["content"]))} for message in conversation]
        yield _system_first(texts) if late else texts


def _fitted_message(
    message: dict[str, Any], abilities: TemplateAbilities, content_format: ContentFormat
) -> dict[str, Any]:
    fit = dict(message)
    if fit["role"] == "developer" and not abilities.developer:
        fit["role"] = "system"
    fit["content"] = _fitted_content(fit["role"], fit["content"], abilities, content_format)
    if abilities.text_arguments and "tool_calls" in fit:
        fit["tool_calls"] = [_with_text_arguments(call) for call in fit["tool_calls"]]
    return fit


def _fitted_content(
    role: str, content: str | list[dict[str, Any]], abilities: TemplateAbilities, content_format: ContentFormat
) -> str | list[dict[str, Any]]:
    speaker = "system" if role in _LEADS else role if role in ("assistant", "tool") else "user"
    as_parts = content_format == "openai" and role != "tool"
    if isinstance(content, str):
        wrap = as_parts or (content_format == "auto" and speaker in abilities.only_parts)
        return [{"type": "text", "text": content}] if wrap else content
    keep = as_parts or (content_format == "auto" and speaker in abilities.parts)
    return content if keep else "\n".join(content_texts(content))


def _with_text_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RequestError(f"The arguments of a tool call cannot be written as JSON: {error}", "messages") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _system_first(conversation: Conversation) -> Conversation:
    first = next(message for message in conversation if message["role"] in _LEADS)
    system = {**first, "content": "\n\n".join(text for text in system_texts(conversation) if text)}
    rest: Conversation = []
    removed = False
    for message in conversation:
        if message["role"] in _LEADS:
            removed = True
        elif removed and rest and rest[-1]["role"] == message["role"] == "user":
            rest[-1] = {**rest[-1], **message, "content": _joined(rest[-1]["content"], message["content"])}
        else:
            rest.append(message)
            removed = False
    return [system, *rest]


def _joined(one: str | list[dict[str, Any]], two: str | list[dict[str, Any]]) -> str:
    """Two neighbours' contents: templates that take no system message between them want the roles to alternate."""
    return "\n\n".join((*content_texts(one), *content_texts(two)))
