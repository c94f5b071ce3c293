"""One call as a text, in the format of each family."""

from __future__ import annotations

import json
from collections.abc import Callable

BAR = "\uff5c"


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def json_calls(before: str, after: str, key: str = "arguments") -> Callable[[str, dict], str]:
    return lambda name, given: f'{before}{{"name": "{name}", "{key}": {dumps(given)}}}{after}'


def tagged(head: str, pair: str, tail: str) -> Callable[[str, dict], str]:
    return lambda name, given: head % name + "".join(pair % item for item in given.items()) + tail


def pythonic(name: str, given: dict) -> str:
    return f"<|python_start|>[{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})]<|python_end|>"


def gemma(name: str, given: dict) -> str:
    pairs = ",".join(f"{key}:<escape>{value}<escape>" for key, value in given.items())
    return f"<start_function_call>call:{name}{{{pairs}}}<end_function_call>"


# family -> one of its calls as a text
CALLS: dict[str, Callable[[str, dict], str]] = {
    "hermes": json_calls("<tool_call>\n", "\n</tool_call>"),
    "granite": json_calls("<|tool_call|>[", "]<|/tool_call|>"),
    "granite-20b-fc": json_calls("<function_call> ", ""),
    "phi4_mini_json": json_calls("functools[", "]"),
    "xlam": json_calls("```json\n[", "]\n```"),
    "llama3_json": json_calls("<|python_tag|>", "<|python_end|>", "parameters"),
    "mistral": lambda name, given: f"[TOOL_CALLS]{name}[ARGS]{dumps(given)}",
    "deepseek_v3": lambda name, given: (
        f"<{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>{name}\n```json\n{dumps(given)}\n```"
        f"<{BAR}tool▁call▁end{BAR}>"
    ),
    "kimi_k2": lambda name, given: (
        f"<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{dumps(given)}<|tool_call_end|>"
    ),
    "openai": lambda name, given: (
        f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{dumps(given)}<|call|>"
    ),
    "qwen3_coder": tagged(
        "<tool_call>\n<function=%s>\n", "<parameter=%s>\n%s\n</parameter>\n", "</function>\n</tool_call>"
    ),
    "glm45": tagged("<tool_call>%s\n", "<arg_key>%s</arg_key>\n<arg_value>%s</arg_value>\n", "</tool_call>"),
    "minicpm5": tagged('<function name="%s">', '<param name="%s">%s</param>', "</function>"),
    "pythonic": pythonic,
    "functiongemma": gemma,
}
