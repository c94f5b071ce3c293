"""--config FILE: under the environment, which is under the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from jaxpaged.cli import changed_settings, engine_config
from jaxpaged.cli.environment import environment_name
from server.flags import add_arguments, parse_flags

FILE = """
model: a model
max-model-len: 32k
max_num_seqs: 8
enable-prefix-caching: false
disable-fastapi-docs: true
api-key: [first, second]
hf-overrides: {rope_theta: 1000}
gpu-memory-utilization: 0.5
port: 9000
host: "::1"
log-format: json
download-dir:
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a config.yaml"
    path.write_text(FILE)
    return path


def parsed(*arguments: str) -> argparse.Namespace:
    return parse_flags(arguments)


def test_a_file_sets_flags_of_every_kind(config: Path) -> None:
    args = parsed("--config", str(config))
    assert (args.api_key, args.port, args.host, args.log_format) == (["first", "second"], 9000, "::1", "json")
    assert args.disable_fastapi_docs is True
    assert args.download_dir is None
    assert changed_settings(engine_config(args)) == {
        "model": "a model",
        "max-model-len": 32000,
        "hf-overrides": {"rope_theta": 1000},
        "enable-prefix-caching": False,
        "gpu-memory-utilization": 0.5,
        "max-num-seqs": 8,
    }


def test_the_environment_wins_over_the_file_and_flags_over_both(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXPAGED_CONFIG", str(config))
    monkeypatch.setenv("JAXPAGED_PORT", "9001")
    monkeypatch.setenv("JAXPAGED_MAX_NUM_SEQS", "9")
    args = parsed("another model", "--max-num-seqs", "10", "--enable-prefix-caching", "--api-key", "third")
    assert (args.port, args.max_num_seqs, args.api_key) == (9001, 10, ["third"])
    assert args.enable_prefix_caching is True
    assert engine_config(args).model.model == "another model"
    assert engine_config(args).model.max_model_len == 32000


def test_one_value_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("api-key: only")
    assert parsed(f"--config={path}").api_key == ["only"]
    path.write_text("")
    assert parsed(f"--config={path}").api_key == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max-model-length: 5", "there is no flag --max-model-length; did you mean max-model-len?"),
        ("config: other.yaml", "there is no flag --config"),
        ("no-enable-prefix-caching: true", "there is no flag --no-enable-prefix-caching"),
        ("port: eighty", "port: 'eighty' is not a valid int"),
        ("port: [1, 2]", "port: [1, 2] is not a single value"),
        ("port: true", "port: True is not a single value"),
        ("max-model-len: 1.5", "max-model-len: '1.5' is not an integer"),
        ("log-format: xml", "log-format: 'xml' is not one of text, json"),
        ("disable-fastapi-docs: 1", "disable-fastapi-docs: 1 is neither true nor false"),
        ("request-timeout: 0", "is not a positive number of seconds"),
        ("a: [", "is not YAML in line 1"),
        ("- a", "must hold lines of the form"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
    ],
)
def test_mistakes_are_one_sentence(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as caught:
        parsed("--config", str(path))
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_file_is_one_sentence(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parsed("--config", "/not there/c.yaml")
    assert "'/not there/c.yaml' cannot be read (No such file or directory)" in capsys.readouterr().err


def test_help_shows_every_flag_with_its_default_and_its_twin(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        parsed("--help")
    entries = capsys.readouterr().out.split("\n  -")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    long = {action.option_strings[0] for action in flags if action.option_strings} - {"-h"}
    assert len(long) > 40
    for flag in long:
        (entry,) = [entry for entry in entries if f"-{entry}".split()[0].rstrip(",") == flag]
        assert "default" in entry, entry
        assert f"[{environment_name(flag)}]" in entry, entry


def test_a_sentence_cannot_steer_the_terminal(capsys: pytest.CaptureFixture) -> None:
    from jaxpaged.cli.outcome import run_command
    from jaxpaged.errors import ConfigError

    def fail() -> int:
        raise ConfigError("no model in \x1b[2Jdirectory\u202e")

    assert run_command(fail, debug=False) == 2
    assert capsys.readouterr().err == "jaxpaged: no model in \\x1b[2Jdirectory\\u202e\n"
