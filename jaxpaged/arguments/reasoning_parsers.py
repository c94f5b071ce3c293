"""vLLM's reasoning parsers as Python programs name them: what is of use here are the marks around a thought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpaged.config import REASONING_MARKS

_THINK = "deepseek_r1 deepseek_v3 qwen3 glm45 glm47 kimi_k2 mimo holo2 minimax_m2 nemotron_v3 olmo3 step3".split()
PARSER_MARKS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_THINK, ("<think>", "</think>")),
    "seed_oss": ("<seed:think>", "</seed:think>"),
    "mistral": ("[THINK]", "[/THINK]"),
    "granite": ("Here is my thought process:", "Here is my response:"),
    "openai_gptoss": ("<|channel|>analysis<|message|>", "<|end|>"),
}


def with_parser_marks(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of an engine, with the marks of `reasoning_parser` where `reasoning_config` names none."""
    name, given = arguments.get("reasoning_parser"), arguments.get("reasoning_config") or {}
    if not isinstance(name, str) or name not in PARSER_MARKS or not isinstance(given, Mapping):
        return arguments
    marks = dict(zip(REASONING_MARKS, PARSER_MARKS[name], strict=True))
    own = {field: value for field, value in given.items() if value or field not in marks}
    return {**arguments, "reasoning_config": {**marks, **own}}
