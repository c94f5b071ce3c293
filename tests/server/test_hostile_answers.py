"""Answers that look like hostile tool calls: 100 kB of them are parsed in linear time, and nothing in them runs."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from server.answers.assistant import AssistantMessage, parse_whole
from server.answers.parsers import choose_parsers
from server.answers.tools.choice import tool_use
from server.answers.tools.families import FAMILIES

SIZE = 100_000
SECONDS = 4.0  # quadratic work takes minutes; this takes tenths of a second, on a busy machine too
TOOLS = tool_use([{"type": "function", "function": {"name": "now"}}], "auto")
OPENINGS = {
    "hermes": '<tool_call>{"name": "now", "arguments": ',
    "qwen3_coder": "<tool_call><function=now><parameter=a>",
    "llama3_json": '{"name": "now", "parameters": ',
    "pythonic": "[now(a=",
    "mistral": "[TOOL_CALLS]now[ARGS]",
    "deepseek_v3": "<\uff5ctool▁call▁begin\uff5c>now<\uff5ctool▁sep\uff5c>",
    "kimi_k2": "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>",
    "glm45": "<tool_call>now<arg_key>a</arg_key><arg_value>",
    "openai": "<|channel|>commentary to=functions.now<|message|>",
    "granite": '<|tool_call|>[{"name": "now", "arguments": ',
    "granite-20b-fc": '<function_call> {"name": "now", "arguments": ',
    "phi4_mini_json": 'functools[{"name": "now", "arguments": ',
    "xlam": '```json\n[{"name": "now", "arguments": ',
    "functiongemma": "<start_function_call>call:now{a:",
    "minicpm5": '<function name="now"><param name="a">',
}
BODIES = {
    "nested": '{"a":',
    "opened and closed by others": '[{"a":[}',
    "arrays": "[",
    "closed": "]}",
    "quotes": '"',
    "escapes": '{"a":"\\\\\\"\\u00',
    "a long string": '{"a": "' + "x" * SIZE,
    "a long number": "9" * SIZE,
    "half markers": "<|<tool_<\uff5c[TOOL_</",
    "white space": " \n",
    "commas": ",",
    "words": "__import__('os').system('true') ",
}
# marks that may or may not end a value, and so have to be looked beyond
ENDS = {
    "qwen3_coder": ("</parameter></function>", "</function> "),
    "glm45": ("</arg_value></tool_call>", "</tool_call> "),
    "kimi_k2": ("<|tool_call_end|>", "<|tool_call_end|> "),
    "openai": ("<|call|><|start|>",),
    "functiongemma": ("<escape> ",),
    "minicpm5": ("</param></function>",),
}
SAME_GRAMMAR = ("granite", "granite-20b-fc", "phi4_mini_json")  # as hermes and xlam


def hostile(family: str) -> dict[str, str]:
    opening = OPENINGS[family]
    texts = {name: (opening + body * (SIZE // len(body) + 1))[:SIZE] for name, body in BODIES.items()}
    for end in ENDS.get(family, ()):
        texts[f"only {end} in a value"] = (opening + '{"' + end * SIZE)[:SIZE]
        texts[f"calls with {end}"] = ((opening + '{"\\"' + end) * SIZE)[:SIZE]
    texts["openings"] = (opening * SIZE)[:SIZE]
    texts["closings"] = ("[" * (SIZE // 2)) + ("}" * (SIZE // 2))
    for marker in FAMILIES[family].markers:
        texts[f"only {marker}"] = (marker * SIZE)[:SIZE]
        texts[f"beginnings of {marker}"] = (marker[:-1] * SIZE)[:SIZE]
    return texts


@pytest.mark.timeout(240)
@pytest.mark.parametrize("pieces_of", [64, SIZE])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in SAME_GRAMMAR])
def test_it_takes_linear_time(family: str, pieces_of: int) -> None:
    special = frozenset([*FAMILIES[family].markers, *(f"<|reserved_{i}|>" for i in range(1000))])
    reasoning = "openai_gptoss" if family == "openai" else "qwen3"
    make = choose_parsers("", special, tool_parser=family, reasoning_parser=reasoning).parser(TOOLS)
    texts = hostile(family)
    for name in texts if pieces_of == SIZE else ("nested", "quotes", "half markers", "a long string", "openings"):
        text, parser, message = texts[name], make(), AssistantMessage()
        began = time.process_time()
        deltas = [parser.feed(text[at : at + pieces_of]) for at in range(0, SIZE, pieces_of)]
        deltas.append(parser.end())
        assert time.process_time() - began < SECONDS, name
        size = sum(
            len(delta.reasoning) + len(delta.content) + sum(len(call.arguments) for call in delta.tool_calls)
            for delta in deltas
        )
        assert size <= 3 * SIZE, name
        if pieces_of == SIZE:
            for delta in deltas:
                message.add(delta)
            for call in message.tool_calls:
                call.arguments.encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_looks_like_code_is_text(family: str) -> None:
    make = choose_parsers("", frozenset(), tool_parser=family, reasoning_parser="none").parser(TOOLS)
    end = {"qwen3_coder": "</parameter>", "glm45": "</arg_value>", "minicpm5": "</param>"}.get(family, "")
    message = parse_whole(make(), OPENINGS[family] + "__import__('os').abort()" + end)
    assert "__import__" in message.content + "".join(call.arguments for call in message.tool_calls)


def test_nothing_is_evaluated() -> None:
    root = Path(__file__).resolve().parents[2] / "server"
    calls = re.compile(r"\b(eval|exec|compile|literal_eval|__import__)\(")
    found = [
        f"{path.name}:{number}"
        for path in root.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if calls.search(line.replace("re.compile(", ""))
    ]
    assert found == []
