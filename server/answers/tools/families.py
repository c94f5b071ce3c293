"""The families by the names that vLLM gives their parsers, and how a chat template shows which one it is of."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass

from server.answers.tools.functiongemma import CLOSING, ESCAPE, OPENING, functiongemma
from server.answers.tools.harmony import MARKERS, Harmony
from server.answers.tools.json_calls import JsonCalls
from server.answers.tools.marked_calls import (
    DEEPSEEK_BEGIN,
    DEEPSEEK_SECTION,
    KIMI_BEGIN,
    KIMI_SECTION,
    MISTRAL_CALLS,
    deepseek,
    kimi,
    mistral,
)
from server.answers.tools.minicpm import OPENING as MINICPM_OPENING
from server.answers.tools.minicpm import minicpm
from server.answers.tools.pythonic import Pythonic
from server.answers.tools.sink import Sink
from server.answers.tools.source import Source, Steps
from server.answers.tools.tagged_calls import GLM_MARKS, glm, qwen_coder
from server.answers.tools.toolbox import Toolbox

Grammar = Callable[[Source, Sink, Toolbox], Steps[None]]


def call_id(name: str, index: int) -> str:
    """An id as OpenAI's look."""
    return f"call_{secrets.token_hex(12)}"


def mistral_id(name: str, index: int) -> str:
    """Mistral's templates take nine letters or digits only."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


def kimi_id(name: str, index: int) -> str:
    """Kimi finds a call's name in its id."""
    return f"functions.{name}:{index}"


@dataclass(frozen=True, slots=True)
class ToolFamily:
    """How a family writes calls.

    `markers` are what the grammar has to see, so special tokens among them must not be left out of the text.
    `opening` are those that begin calls and that no prose holds: they end a block of reasoning that was not closed.
    """

    name: str
    grammar: Grammar
    markers: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()
    new_id: Callable[[str, int], str] = call_id


_DEEPSEEK = (DEEPSEEK_SECTION, DEEPSEEK_BEGIN)
_KIMI = (KIMI_SECTION, KIMI_BEGIN)
_HERMES = JsonCalls(("<tool_call>",), ("</tool_call>",))
_LLAMA = JsonCalls(
    ("<|python_tag|>", "<|python_start|>"),
    ("<|python_end|>",),
    bare=True,
    beginnings=('{"name":', '{"type": "function", "name":'),
)
_GRANITE = JsonCalls(("<|tool_call|>", "<tool_call>"), ("<|/tool_call|>", "</tool_call>"), bare=True)
_PHI4 = JsonCalls(("functools", "<|tool_call|>"), ("<|/tool_call|>",), bare=True)
_XLAM = JsonCalls(
    (MISTRAL_CALLS, "<tool_call>"), ("</tool_call>",), bare=True, fences=("```json", "```\n"), after=("</think>",)
)

FAMILIES = {
    family.name: family
    for family in (
        ToolFamily("hermes", _HERMES, ("<tool_call>", "</tool_call>"), ('<tool_call>\n{"name": ',)),
        ToolFamily("qwen3_coder", qwen_coder, ("<tool_call>", "</tool_call>"), ("<tool_call>\n<function=",)),
        ToolFamily("llama3_json", _LLAMA, (*_LLAMA.openers, *_LLAMA.closers)),
        ToolFamily("pythonic", Pythonic(), ("<|python_start|>", "<|python_end|>")),
        ToolFamily("mistral", mistral, (MISTRAL_CALLS, "[ARGS]", "[CALL_ID]"), (MISTRAL_CALLS,), mistral_id),
        ToolFamily("deepseek_v3", deepseek, _DEEPSEEK, _DEEPSEEK),
        ToolFamily("kimi_k2", kimi, _KIMI, _KIMI, kimi_id),
        ToolFamily("glm45", glm, GLM_MARKS),
        ToolFamily("openai", Harmony(), MARKERS),
        ToolFamily("granite", _GRANITE, (*_GRANITE.openers, *_GRANITE.closers)),
        ToolFamily("granite-20b-fc", JsonCalls(("<function_call>",)), ("<function_call>",)),
        ToolFamily("phi4_mini_json", _PHI4, ("<|tool_call|>", "<|/tool_call|>"), ('functools[{"name": ',)),
        ToolFamily("xlam", _XLAM, (MISTRAL_CALLS, "<tool_call>", "</tool_call>")),
        ToolFamily("functiongemma", functiongemma, (OPENING, CLOSING, ESCAPE), (OPENING,)),
        ToolFamily("minicpm5", minicpm, (), (MINICPM_OPENING,)),
    )
}
# other names of the same, most of them vLLM's
ALIASES = {
    "qwen3_xml": "qwen3_coder",
    "qwen3_json": "hermes",
    "llama4_json": "llama3_json",
    "llama4_pythonic": "pythonic",
    "deepseek_v31": "deepseek_v3",
    "glm47": "glm45",
    "gpt_oss": "openai",
    "granite4": "granite",
    "mimo": "qwen3_coder",
}

# (in the template, family); the first that is found counts
_SIGNS = (
    ("<|channel|>", "openai"),
    (DEEPSEEK_BEGIN, "deepseek_v3"),
    (KIMI_BEGIN, "kimi_k2"),
    (MISTRAL_CALLS, "mistral"),
    ("<arg_key>", "glm45"),
    (OPENING, "functiongemma"),
    (MINICPM_OPENING, "minicpm5"),
    ("<function=", "qwen3_coder"),
    ('functools[{"name"', "phi4_mini_json"),
    ("<|/tool|>", "phi4_mini_json"),
    ("<|tool_call|>", "granite"),
    ("<tool_call>", "hermes"),
    ("<function_call>", "granite-20b-fc"),
    ("make calls in a single JSON array", "xlam"),
    ('    {"name": "func_name1", "arguments"', "xlam"),
    ('"parameters": dictionary of argument name', "llama3_json"),
    ("func_name1(", "pythonic"),
    ("<|python_start|>", "pythonic"),
    ("<|python_tag|>", "llama3_json"),
)


# DeepSeek V2.5, models distilled from R1, Firefunction: some templates show calls, but never which tools there are
_MAY_LIST_NONE = ("deepseek_v3", "phi4_mini_json")
_CODE = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_LISTS_TOOLS = re.compile(r"""(?<![\w.'"])tools\b(?!['"])|\bmessage(\.tools\b|\[['"]tools['"]\])""")


def detect_family(template: str) -> ToolFamily | None:
    """The family whose calls a chat template renders."""
    name = next((name for sign, name in _SIGNS if sign in template), None)
    if name in _MAY_LIST_NONE and "messages" in template and not _lists_tools(template):
        return None
    return FAMILIES.get(name or "")


def _lists_tools(template: str) -> bool:
    return any(_LISTS_TOOLS.search(code) for code in _CODE.findall(template))


def family_names() -> list[str]:
    """Every name that find_family() knows."""
    return sorted([*FAMILIES, *ALIASES])


def find_family(name: str) -> ToolFamily | None:
    return FAMILIES.get(ALIASES.get(name, name))
