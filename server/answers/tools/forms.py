"""How the families write calls, for grammars of answers that may be calls: a blank is where white space may stand."""

from __future__ import annotations

from jaxpaged import CallForm
from server.answers.tools.marked_calls import (
    DEEPSEEK_BEGIN,
    DEEPSEEK_END,
    DEEPSEEK_SECTION,
    DEEPSEEK_SECTION_END,
    DEEPSEEK_SEP,
    KIMI_BEGIN,
    KIMI_SECTION,
)

_OBJECT = '{ "name" : "NAME" , "arguments" : JSON }'
_TAGS = CallForm(f"<tool_call> {_OBJECT} </tool_call>")
_LLAMA = '{ "name" : "NAME" , "parameters" : JSON }'


def _list(head: str, tail: str) -> CallForm:
    return CallForm(_OBJECT, head, tail, ",")


FORMS: dict[str, tuple[CallForm, ...]] = {
    "hermes": (_TAGS, CallForm('<tool_call> { "arguments" : JSON , "name" : "NAME" } </tool_call>')),
    "qwen3_coder": (CallForm("<tool_call> <function=NAME> TEXT"),),
    "llama3_json": (CallForm(_LLAMA, separator=";"), CallForm(_LLAMA, "<|python_tag|>", separator=";")),
    "pythonic": (CallForm("[ NAME( TEXT"), CallForm("<|python_start|> [ NAME( TEXT")),
    "mistral": (CallForm("[TOOL_CALLS] NAME [ARGS] JSON"), _list("[TOOL_CALLS] [", "]")),
    "deepseek_v3": (
        CallForm(
            f"{DEEPSEEK_BEGIN} function {DEEPSEEK_SEP} NAME ```json JSON ``` {DEEPSEEK_END}",
            DEEPSEEK_SECTION,
            DEEPSEEK_SECTION_END,
        ),
        CallForm(f"{DEEPSEEK_BEGIN} NAME {DEEPSEEK_SEP} JSON {DEEPSEEK_END}", DEEPSEEK_SECTION, DEEPSEEK_SECTION_END),
    ),
    "kimi_k2": (CallForm(f"{KIMI_SECTION} {KIMI_BEGIN} functions.NAME: TEXT"),),
    "glm45": (CallForm("<tool_call> NAME TEXT"),),
    "openai": (CallForm("<|channel|>commentary to=functions.NAME TEXT"),),
    "granite": (_list("<|tool_call|> [", "]"), _TAGS),
    "granite-20b-fc": (CallForm(f"<function_call> {_OBJECT}"),),
    "phi4_mini_json": (_list("functools [", "]"), _list("<|tool_call|> [", "] <|/tool_call|>")),
    "xlam": (_list("[", "]"),),
    "functiongemma": (CallForm("<start_function_call> call:NAME{ TEXT"),),
    "minicpm5": (CallForm('<function name="NAME"> TEXT'),),
}
