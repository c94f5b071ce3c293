"""What a chat template can take, found by rendering short conversations with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

# what a template may raise on a conversation that it was not written for
TEMPLATE_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

_ONE, _TWO = "PROBE-ONE", "PROBE-TWO"
_PARTS = [{"type": "text", "text": _ONE}, {"type": "text", "text": _TWO}]
_NAMES_DEVELOPER = re.compile(r"""["']developer["']""")  # most templates print any role, known to the model or not
_HELLO = {"role": "user", "content": "hello"}
_KEY, _VALUE = "probe_key", "probe_value"
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "probe",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string", "description": "probe"}}},
    },
}

Conversation = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TemplateAbilities:
    """`parts`: the roles whose content may be a list of parts; `only_parts`: those whose content must be one.

    `text_arguments`: a call's arguments must be JSON text; `developer`: this role is another one than "system".
    `system_tools`: tools are read from the system message, as text, and `written_calls`: calls from contents alone.
    """

    parts: frozenset[str] = frozenset()
    only_parts: frozenset[str] = frozenset()
    text_arguments: bool = False
    developer: bool = False
    system_tools: bool = False
    written_calls: bool = False


@lru_cache(maxsize=32)
def template_abilities(template: str, special_tokens: tuple[tuple[str, str], ...]) -> TemplateAbilities:
    """`special_tokens` are the names (bos_token, ...) and spellings that the template may print."""

    def render(messages: Conversation, tools: Sequence[dict[str, Any]] | None = None) -> str:
        return _render(template, messages, tools, dict(special_tokens))

    system_tools = _reads_system_tools(render)
    parts = frozenset(role for role in ("system", "user", "assistant") if _takes_parts(render(_said(role, _PARTS))))
    return TemplateAbilities(
        parts,
        frozenset(role for role in parts if _ONE not in render(_said(role, _ONE))),
        not _shows_json(render(_called({_KEY: _VALUE}), [_TOOL]))
        and _shows_json(render(_called(f'{{"{_KEY}": "{_VALUE}"}}'), [_TOOL])),
        _knows_developer(template, render(_said("developer", _ONE)), render(_said("system", _ONE))),
        system_tools,
        system_tools and _VALUE not in render(_called({_KEY: _VALUE}), [_TOOL]),
    )


def _render(
    template: str, messages: Conversation, tools: Sequence[dict[str, Any]] | None, special_tokens: dict[str, str]
) -> str:
    """Empty where the template refuses."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        rendered, _ = render_jinja_template(
            conversations=[messages],
            tools=list(tools) if tools else None,
            chat_template=template,
            add_generation_prompt=True,
            **special_tokens,
        )
        return str(rendered[0])
    except TEMPLATE_FAULTS:
        return ""


def _said(role: str, content: object) -> Conversation:
    """A conversation in which `role` says `content` where templates expect it to speak."""
    message = {"role": role, "content": content}
    if role == "user":
        return [message]
    return [_HELLO, message, _HELLO] if role == "assistant" else [message, _HELLO]


def _knows_developer(template: str, as_developer: str, as_system: str) -> bool:
    """The template names the role and renders it in a way of its own."""
    named = _NAMES_DEVELOPER.search(template) is not None
    return named and _ONE in as_developer and as_developer != as_system


def _reads_system_tools(render: Callable[..., str]) -> bool:
    """A text in the system message's field is printed as it is; the variable that other templates read is not."""
    lead = {"role": "system", "content": _TWO}
    shown = render([{**lead, "tools": _ONE}, _HELLO])
    return _ONE in shown and f'"{_ONE}"' not in shown and _KEY not in render([lead, _HELLO], [_TOOL])


def _called(arguments: object) -> Conversation:
    call = {"id": "probe0001", "type": "function", "function": {"name": "probe", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": "probe0001", "name": "probe", "content": "done"}
    return [_HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}, result]


def _takes_parts(rendered: str) -> bool:
    """Both texts are shown, and not as Python or JSON spell a list."""
    return _ONE in rendered and _TWO in rendered and "'type'" not in rendered and '"type"' not in rendered


def _shows_json(rendered: str) -> bool:
    """The arguments are shown, neither as Python spells a dict nor as JSON text within a JSON text."""
    return _VALUE in rendered and f"'{_KEY}'" not in rendered and f'\\"{_VALUE}' not in rendered
