"""Which parser a model gets: from its chat template, or from the flags."""

from __future__ import annotations

import re

import pytest

from jaxpaged import ConfigError
from server.answers.assistant import AssistantMessage, parse_whole
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
    ("<|tool_call|> between <think></think> and your response between <response></response>", "granite", "granite"),
    ("<think> <tool_call> <response>{{ result }}</response>", "hermes", "think"),
    ("{{ message.content }}", None, None),
    ("<start_function_call>call:{{ name }}<start_function_declaration>", "functiongemma", None),
    ("""{{- '<function name="' ~ tool_call.name ~ '">' }}<think>""", "minicpm5", "think"),
    ('formatted as functools[{"name": [function name], "arguments": [function arguments]}]', "phi4_mini_json", None),
    ("When using tools, make calls in a single JSON array: ", "xlam", None),
    ('```\n[\n    {"name": "func_name1", "arguments": {}}', "xlam", None),
    ("<|function_call_library|>{{ '<function_call> ' + call | tojson }}", "granite-20b-fc", None),
    (f"{{% for m in messages %}}<{BAR}Assistant{BAR}></think><{BAR}tool▁call▁begin{BAR}>", None, "deepseek_r1"),
    (
        f"{{% for m in messages %}}{{% if tools %}}<{BAR}Assistant{BAR}></think><{BAR}tool▁call▁begin{BAR}>",
        "deepseek_v3",
        "deepseek_r1",
    ),
    (f"{{% if not thinking %}}<{BAR}Assistant{BAR}></think>", None, "think"),
]
# what vLLM's documentation says of models whose architecture is served: (model, --tool-call-parser, --reasoning-parser,
# what their templates, or those of vLLM's examples, hold)
DOCUMENTED = [
    ("NousResearch/Hermes-2-Pro-Mistral-7B", "hermes", None, "within <tool_call></tool_call> XML tags{{ tools }}"),
    ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes", None, "{{- '\n<tool_call>\n' }}{{ tools }}"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", None, '[AVAILABLE_TOOLS]{{ "[TOOL_CALLS] [" }}'),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json", None, '{"name": f, "parameters": dictionary of argument name'),
    ("ibm-granite/granite-3.1-8b-instruct", "granite", None, "respond only with <|tool_call|> followed by a JSON list"),
    ("Salesforce/Llama-xLAM-2-8b-fc-r", "xlam", None, "make calls in a single JSON array: {{ tools }}"),
    ("Qwen/Qwen2.5-7B-Instruct", "hermes", None, "return a json object within <tool_call></tool_call> XML tags"),
    ("Qwen/QwQ-32B", "hermes", "deepseek_r1", "<tool_call>{{- '<|im_start|>assistant\n<think>\n' }}"),
    ("Qwen/Qwen3-8B", "hermes", "qwen3", "<tool_call>{{- '<think>\n\n</think>\n\n' }}"),
    ("google/functiongemma-270m-it", "functiongemma", None, "<start_function_call>call:{{ name }}"),
    ("Team-ACE/ToolACE-8B", "pythonic", None, "[func_name1(params_name1=params_value1...), func_name2(params)]"),
    ("meta-llama/Llama-3.2-1B-Instruct", "pythonic", None, "Respond in the format [func_name1(params_name1=v)]"),
    ("microsoft/Phi-4-mini-instruct", "phi4_mini_json", None, 'functools[{"name": [function name]'),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", None, "deepseek_r1", f"messages <{BAR}Assistant{BAR}></think>"),
    ("ibm-granite/granite-3.2-8b-instruct", "granite", "granite", "<|tool_call|> Here is my thought process:"),
]


@pytest.mark.parametrize(("template", "tools", "reasoning"), EXCERPTS)
def test_a_template_shows_its_family(template: str, tools: str | None, reasoning: str | None) -> None:
    parsers = choose_parsers(template, frozenset())
    assert (parsers.tools and parsers.tools.name, parsers.reasoning) == (tools, reasoning)
    off = choose_parsers(template, frozenset(), tool_parser="none", reasoning_parser="none")
    assert off.parser(USE, "<think>") is None


@pytest.mark.parametrize(("model", "tools", "reasoning", "template"), DOCUMENTED)
def test_the_parser_is_the_one_that_vllm_documents(
    model: str, tools: str | None, reasoning: str | None, template: str
) -> None:
    parsers = choose_parsers(template, frozenset())
    assert (parsers.tools and parsers.tools.name) == tools
    thinks = (
        ("<think>", "</think>") if reasoning != "granite" else ("Here is my thought process:", "Here is my response:")
    )
    for prompt, text in ((f"a{thinks[0]}\n", f"Hm.{thinks[1]}\nSo."), ("a", f"{thinks[0]}Hm.{thinks[1]}\nSo.")):
        make = parsers.parser(NO_TOOLS, prompt)
        named = choose_parsers("", frozenset(), reasoning_parser=reasoning or "none").parser(NO_TOOLS, prompt)
        assert (make is None) == (named is None) == (reasoning is None)
        if make and named:
            assert parse_whole(make(), text) == parse_whole(named(), text) == AssistantMessage("Hm.", "So.")


def test_the_names_are_vllms() -> None:
    known = (
        "hermes qwen3_coder qwen3_xml llama3_json llama4_pythonic pythonic mistral deepseek_v3 deepseek_v31 kimi_k2 "
    )
    known += "glm45 glm47 openai granite granite4 granite-20b-fc phi4_mini_json functiongemma xlam minicpm5 mimo"
    assert set(known.split()) <= set(family_names())
    thinking = "deepseek_r1 deepseek_v3 qwen3 glm45 glm47 granite mistral kimi_k2 openai_gptoss mimo holo2 minimax_m2 "
    thinking += "nemotron_v3 olmo3 step3 seed_oss"
    assert set(thinking.split()) <= set(reasoning_names())
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
