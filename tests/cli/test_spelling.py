"""vLLM's spellings reach the same flags."""

from __future__ import annotations

import argparse

import pytest

from jaxpaged.arguments.flags import add_engine_flags
from jaxpaged.cli import engine_config
from jaxpaged.cli.parser import parse
from jaxpaged.cli.spelling import plain_spelling

KNOWN = {"--hf-overrides", "--max-model-len", "-O", "--odd_name"}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["--max_model_len", "5"], ["--max-model-len", "5"]),
        (["--max_model_len=5_0"], ["--max-model-len=5_0"]),
        (["--odd_name", "x"], ["--odd_name", "x"]),
        (["--un_known", "a_b", "-1.5", "a.b_c"], ["--un_known", "a_b", "-1.5", "a.b_c"]),
        (["--hf-overrides.a", "1"], ["--hf-overrides", '{"a": 1}']),
        (["--hf_overrides.a.b=x", "--hf-overrides.a.d", "1"], ["--hf-overrides", '{"a": {"b": "x", "d": 1}}']),
        (["-O.mode=3"], ["-O", '{"mode": 3}']),
        (["--hf-overrides.a"], ["--hf-overrides", '{"a": ""}']),
        (["--hf-overrides.a+", "1,x", "--hf-overrides.a+=2"], ["--hf-overrides", '{"a": [1, "x", 2]}']),
        (["--hf-overrides.a", "80k"], ["--hf-overrides", '{"a": 80000}']),
        (
            ["--hf-overrides", '{"a": {"b": 1}, "c": 2}', "--hf_overrides.a.d=3"],
            ["--hf-overrides", '{"a": {"b": 1}, "c": 2}', "--hf-overrides", '{"a": {"b": 1, "d": 3}, "c": 2}'],
        ),
    ],
)  # fmt: skip
def test_the_plain_spelling(given: list[str], plain: list[str]) -> None:
    assert plain_spelling(given, KNOWN) == plain


def parsed(*arguments: str) -> argparse.Namespace:
    return parse("jaxpaged test", "", add_engine_flags, arguments)


def test_they_reach_the_configuration(caplog: pytest.LogCaptureFixture) -> None:
    args = parsed("--max_model_len", "32k", "--no-enable_prefix_caching", "--hf-overrides.a.b", "1", "-cc.mode", "3")
    config = engine_config(args)
    assert (config.model.max_model_len, config.model.hf_overrides) == (32000, {"a": {"b": 1}})
    assert config.cache.enable_prefix_caching is False
    assert [record.getMessage().split(" changes")[0] for record in caplog.records] == [
        '--compilation-config {"mode": 3}'
    ]
