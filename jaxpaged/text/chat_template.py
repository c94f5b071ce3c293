"""Chat messages to a prompt, with the model's own Jinja template in transformers' sandbox.

Special tokens spelled in a message or a tool ("<|im_end|>") stay plain text: they are taken out before the template
runs and tokenized apart, so a user cannot forge a role or end a turn. Templates that look for markers such as
"</think>" still work, because those are added tokens but not special ones. (vLLM and transformers parse them all.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from jaxpaged.errors import ConfigError, RequestError

Message = Mapping[str, Any]

# what a template may raise on content that it was not written for
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError)
_RESERVED = frozenset(
    "conversation messages tools chat_template add_generation_prompt continue_final_message tokenize padding "
    "truncation max_length return_tensors return_dict return_assistant_tokens_mask tokenizer_kwargs".split()
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters: no text of any language holds them
_HOLE = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to render a conversation; the fields are vLLM's arguments of chat()."""

    chat_template: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    tools: Sequence[Mapping[str, Any]] | None = None
    template_kwargs: Mapping[str, Any] | None = None

    def validate(self) -> None:
        if self.add_generation_prompt and self.continue_final_message:
            raise RequestError(
                "add_generation_prompt and continue_final_message exclude each other; set one to False.",
                "continue_final_message",
            )
        reserved = sorted(_RESERVED & set(self.template_kwargs or ()))
        if reserved:
            raise RequestError(f"chat_template_kwargs may not set {', '.join(reserved)}.", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The prompt as text and as the token ids that the model sees."""

    prompt: str
    token_ids: list[int]


def read_chat_template(template: Path | str) -> str:
    """A template as text: `template` is the text itself (it has a brace in it) or the path of a file that holds it."""
    if isinstance(template, str) and "{" in template:
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The chat template {template} cannot be read ({error.strerror}); give a file or Jinja text."
        ) from error


def render_chat(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], options: ChatOptions | None = None
) -> RenderedChat:
    """Apply the chat template and tokenize. Raises RequestError for bad messages or a template that refuses them."""
    options = options or ChatOptions()
    options.validate()
    if options.chat_template is None and tokenizer.chat_template is None:
        raise RequestError(
            "This model has no chat template. Use generate() / v1/completions, or give a template with chat_template=.",
            "messages",
        )
    spelled: list[str] = []
    special = _special_pattern(tokenizer)
    try:
        conversation = [_plain_message(message, index, special, spelled) for index, message in enumerate(messages)]
        tools = [_without_special(tool, special, spelled) for tool in options.tools or ()]
    except RecursionError as error:
        raise RequestError("The messages or tools are nested too deeply.", "messages") from error
    if not conversation:
        raise RequestError("messages is empty; give at least one message.", "messages")
    rendered = _apply(tokenizer, conversation, replace(options, tools=tools or None))
    prompt = _HOLE.sub(lambda hole: spelled[int(hole[1])], rendered)
    return RenderedChat(prompt, _tokenize(tokenizer, rendered, spelled))


def _apply(tokenizer: PreTrainedTokenizerFast, conversation: list[dict[str, Any]], options: ChatOptions) -> str:
    try:
        rendered: str = tokenizer.apply_chat_template(
            conversation,
            tools=[dict(tool) for tool in options.tools] if options.tools else None,
            chat_template=options.chat_template,
            add_generation_prompt=options.add_generation_prompt,
            continue_final_message=options.continue_final_message,
            tokenize=False,
            **(options.template_kwargs or {}),
        )
        return rendered
    except _TEMPLATE_FAULTS as error:
        raise RequestError(f"The chat template does not accept these messages: {error}", "messages") from error


def _plain_message(message: Message, index: int, special: re.Pattern[str], spelled: list[str]) -> dict[str, Any]:
    """A copy for the template: content as one string, tool arguments as objects, special tokens taken out."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RequestError(f"messages[{index}] must be an object with a role (a string) and content.", "messages")
    plain = dict(message)
    if message.get("content") is not None:
        plain["content"] = _text(message["content"], index)
    if message.get("tool_calls"):
        plain["tool_calls"] = _tool_calls(message["tool_calls"], index)
    return {
        name: value if name == "role" else _without_special(value, special, spelled) for name, value in plain.items()
    }


def _without_special(value: Any, special: re.Pattern[str], spelled: list[str]) -> Any:
    """Any JSON value with the special tokens of its texts taken out."""
    if isinstance(value, str):
        return special.sub(lambda found: _hole(found[0], spelled), value)
    if isinstance(value, Mapping):
        plain = partial(_without_special, special=special, spelled=spelled)
        return {plain(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_special(part, special, spelled) for part in value]
    return value


def _text(content: object, index: int) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise RequestError(f"messages[{index}].content must be a string or a list of parts.", "messages")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise RequestError(
                f"messages[{index}] has a content part of type {kind!r}; this model reads text only.", "messages"
            )
    return "\n".join(texts)


def _tool_calls(calls: object, index: int) -> list[dict[str, Any]]:
    if not isinstance(calls, list | tuple):
        raise RequestError(f"messages[{index}].tool_calls must be a list.", "messages")
    return [_tool_call(call, index) for call in calls]


def _tool_call(call: object, index: int) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise RequestError(f"messages[{index}].tool_calls must hold objects with a function.", "messages")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise RequestError(f"messages[{index}]: tool call arguments are not JSON: {error}", "messages") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _special_pattern(tokenizer: PreTrainedTokenizerFast) -> re.Pattern[str]:
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    spellings = sorted((token.content for token in added if token.special), key=len, reverse=True)
    return re.compile("|".join(re.escape(spelling) for spelling in [*spellings, _OPEN]))


def _hole(spelling: str, spelled: list[str]) -> str:
    spelled.append(spelling)
    return f"{_OPEN}{len(spelled) - 1}{_CLOSE}"


def _tokenize(tokenizer: PreTrainedTokenizerFast, rendered: str, spelled: list[str]) -> list[int]:
    token_ids: list[int] = []
    for position, piece in enumerate(_HOLE.split(rendered)):
        if position % 2:
            token_ids += tokenizer.encode(spelled[int(piece)], add_special_tokens=False, split_special_tokens=True)
        elif piece:
            token_ids += tokenizer.encode(piece, add_special_tokens=False)
    return token_ids
