"""Which parser a model gets: from its chat template, or from the flags."""

from __future__ import annotations

import re

import pytest

from jaxpaged import ConfigError
from server.answers.parsers import choose_parsers
from server.answers.reasoning.families import reasoning_names
from server.answers.tools.choice import NO_TOOLS, tool_use
from server.answers.tools.families import FAMILIES, family_names, find_family
from server.flags import parse_flags, server_options
from server.serving import Serving
from server.start import serve
from tests.server.harness import async_llm
from tests.server.talker import HARMONY, HARMONY_TOKENS, HERMES, Talker

BAR = "\uff5c"
USE = tool_use([{"type": "function", "function": {"name": "f"}}], "auto")
# what tells the families' own templates apart: (an excerpt in their words, tool calls, reasoning)
EXCERPTS = [
    ("return a json object within <tool_call></tool_call> XML tags {{ tool_call.name }}", "hermes", None),
    ("<tool_call> {%- if '</think>' in content %}{{ '<think>\n' + reasoning_content }}", "hermes", "think"),
    ("<tool_call>\n<function=example_function_name>\n<parameter=example>", "qwen3_coder", None),
    ("<tool_call>{{ name }}\n<arg_key>{{ k }}</arg_key> <think></think>", "glm45", "think"),
    (
        '{"name": function name, "parameters": dictionary of argument name and its value} <|python_tag|>',
        "llama3_json",
        None,
    ),
    ("[func_name1(params_name1=params_value1), func_name2(params)] <|python_start|>", "pythonic", None),
    ("[TOOL_CALLS]{{ name }}[ARGS]", "mistral", None),
    ("[TOOL_CALLS] [THINK]", "mistral", "mistral"),
    (f"<{BAR}tool▁call▁begin{BAR}>' + type + '<{BAR}tool▁sep{BAR}> </think>", "deepseek_v3", "think"),
    ("<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>", "kimi_k2", None),
    ("<|start|>assistant<|channel|>analysis<|message|> [TOOL_CALLS]", "openai", "openai_gptoss"),
    ("respond with <|tool_call|> followed by a JSON list. Here is my thought process:", "granite", "granite"),
    ("{{ message.content }}", None, None),
]


@pytest.mark.parametrize(("template", "tools", "reasoning"), EXCERPTS)
def test_a_template_shows_its_family(template: str, tools: str | None, reasoning: str | None) -> None:
    parsers = choose_parsers(template, frozenset())
    assert (parsers.tools and parsers.tools.name, parsers.reasoning) == (tools, reasoning)
    off = choose_parsers(template, frozenset(), tool_parser="none", reasoning_parser="none")
    assert off.parser(USE, "<think>") is None


def test_the_names_are_vllms() -> None:
    known = (
        "hermes qwen3_coder qwen3_xml llama3_json llama4_pythonic pythonic mistral deepseek_v3 deepseek_v31 kimi_k2 "
    )
    known += "glm45 glm47 openai granite granite4 granite-20b-fc phi4_mini_json functiongemma xlam minicpm5 mimo"
    assert set(known.split()) <= set(family_names())
    assert set("deepseek_r1 deepseek_v3 qwen3 glm45 granite mistral kimi_k2 openai_gptoss".split()) <= set(
        reasoning_names()
    )
    assert all(find_family(name) in FAMILIES.values() for name in family_names())
    for flags in ({"tool_parser": "nemo"}, {"reasoning_parser": "nemo"}):
        with pytest.raises(ConfigError, match="choose auto, none or one of"):
            choose_parsers("", frozenset(), **flags)


def test_the_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_flags(["--help"])
    words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    assert {*FAMILIES, *reasoning_names()} - {"think"} <= words


def test_flags_choose() -> None:
    args = parse_flags(["m", "--enable-auto-tool-choice", "--tool-call-parser", "mistral"])
    options = server_options(args)
    assert (options.tool_call_parser, options.reasoning_parser) == ("mistral", "auto")
    talker = Talker()
    serving = Serving.of(talker.llm, options)
    assert serving.parsers.report() == "tool calls: mistral, reasoning: think"
    assert Serving.of(async_llm(), server_options(parse_flags(["m"]))).parsers.report() == (
        "tool calls: none, reasoning: none"
    )


def test_a_name_that_there_is_not_is_known_before_anything_starts() -> None:
    for flag in ("--tool-call-parser", "--reasoning-parser"):
        with pytest.raises(ConfigError, match=f"There is no {flag} 'nemo'; choose auto, none or one of"):
            serve(parse_flags(["no/such/model", flag, "nemo"]))


def test_special_tokens_stay_where_the_parser_reads_them() -> None:
    parsers = choose_parsers(HARMONY, frozenset(HARMONY_TOKENS))
    assert parsers.keep_special(NO_TOOLS)
    assert not choose_parsers(HERMES, frozenset(HARMONY_TOKENS)).keep_special(USE)
    tagged = choose_parsers(HERMES, frozenset(("<tool_call>",)))
    assert tagged.keep_special(USE)
    assert not tagged.keep_special(NO_TOOLS)


def test_deepseek_r1_thinks_without_a_tag() -> None:
    make = choose_parsers("", frozenset(), reasoning_parser="deepseek_r1").parser
    assert make(NO_TOOLS, "x")().feed("Hm.</think>Hi.").reasoning == "Hm."
    assert make(NO_TOOLS, "x</think>\n")().feed("Hi.").content == "Hi."
    make = choose_parsers("", frozenset(), reasoning_parser="qwen3").parser
    assert make(NO_TOOLS, "x")().feed("Hm.</think>Hi.").content == "Hm.</think>Hi."
