"""A command line made for vLLM works: flags that change nothing here are taken, by every way to give one."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from jaxpaged.arguments import flags
from jaxpaged.arguments.settings import changed_settings
from jaxpaged.cli.config_file import read_defaults
from jaxpaged.cli.environment import from_environment
from jaxpaged.config import EngineConfig
from jaxpaged.errors import ConfigError

RECIPE = """
    a-model --trust-remote-code --enforce-eager -O3 --compilation-config {"mode":3} --swap-space 16 --async-scheduling
    --enable-chunked-prefill --disable-log-stats --disable-log-requests --tokenizer-mode slow --runner generate
    --kv-cache-dtype auto --attention-backend FLASHINFER --moe-backend triton --limit-mm-per-prompt {"image":0}
    --distributed-executor-backend ray --no-enable-log-requests -pp 1 --enable-request-id-headers --api-server-count 4
    --cudagraph-capture-sizes 1 2 4 --max-model-len 64
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(exit_on_error=False)
    flags.add_engine_flags(made)
    return made


def parse(*arguments: str, environ: dict[str, str] | None = None) -> EngineConfig:
    made = parser()
    return flags.engine_config(made.parse_args([*from_environment(made, environ or {}), *arguments]))


def test_a_command_line_of_vllms(caplog: pytest.LogCaptureFixture) -> None:
    config = parse(*RECIPE.split())
    assert changed_settings(config) == {"model": "a-model", "max-model-len": 64}
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" changes nothing: ")[0] for line in lines] == [
        "--tokenizer-mode slow",
        "--trust-remote-code",
        "--enforce-eager",
        '--compilation-config {"mode": 3}',
        "--optimization-level 3",
        "--cudagraph-capture-sizes [1, 2, 4]",
        "--attention-backend FLASHINFER",
        "--moe-backend triton",
        "--swap-space 16",
        "--distributed-executor-backend ray",
        "--disable-log-stats",
        "--api-server-count 4",
        '--limit-mm-per-prompt {"image": 0}',
    ]
    assert all(len(line) > len(line.partition(" changes nothing: ")[0]) + 25 for line in lines)


def test_nothing_given_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    parse()
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--kv-cache-dtype fp8", "--kv-cache-dtype fp8 cannot be had: the cache has the model's dtype."),
        ("--enable-lora", "--enable-lora cannot be had"),
        ('--speculative-config {"method":"ngram"}', '--speculative-config {"method": "ngram"} cannot be had'),
        ("-pp 2", "--pipeline-parallel-size 2 cannot be had"),
        ("--runner pooling", "--runner pooling cannot be had: only generation"),
    ],
)
def test_what_would_change_an_answer_is_refused_by_its_flag(arguments: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(*arguments.split())
    assert str(caught.value).startswith(says)


def test_the_environment_has_them_too(caplog: pytest.LogCaptureFixture) -> None:
    parse(environ={"JAXPAGED_ENFORCE_EAGER": "1", "JAXPAGED_SWAP_SPACE": "8", "JAXPAGED_TRUST_REMOTE_CODE": "off"})
    assert [record.getMessage().split(" changes")[0] for record in caplog.records] == [
        "--enforce-eager",
        "--swap-space 8",
    ]


def test_and_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("enforce-eager: true\ncompilation-config: {mode: 3}\nswap_space: 4\nkv-cache-dtype: auto\n")
    made = parser()
    made.set_defaults(**read_defaults(made, str(path)))
    flags.engine_config(made.parse_args([]))
    assert len(caplog.records) == 3
    path.write_text("enable-lora: true\n")
    made.set_defaults(**read_defaults(made, str(path)))
    with pytest.raises(ConfigError, match="--enable-lora cannot be had"):
        flags.engine_config(made.parse_args([]))


def test_help_names_none_of_them() -> None:
    text = parser().format_help()
    assert "vLLM's other flags" in text
    assert "--enforce-eager" not in text
