"""simonw's llm, as its users run it: a YAML entry and a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL

ENTRY = """
- model_id: demo
  model_name: {model}
  api_base: {base_url}
  api_key_name: demo
  supports_schema: true
- model_id: demo-text
  model_name: {model}
  api_base: {base_url}
  api_key_name: demo
  completion: true
"""


@pytest.fixture
def home(tmp_path: Path, base_url: str) -> Path:
    (tmp_path / "extra-openai-models.yaml").write_text(ENTRY.format(model=MODEL, base_url=base_url))
    (tmp_path / "keys.json").write_text(json.dumps({"demo": KEY}))
    return tmp_path


def ask(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "LLM_USER_PATH": str(home)}
    command = [sys.executable, "-m", "llm", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("flags", [[], ["--no-stream"]], ids=str)
def test_a_prompt(home: Path, flags: list[str]) -> None:
    assert ask(home, "-m", "demo", "-o", "temperature", "0", *flags, "Add 12 and 30.") == "12 + 30 = 42"


def test_a_system_prompt_and_usage(home: Path) -> None:
    assert "42" in ask(home, "-m", "demo", "-s", "Be kind.", "-o", "temperature", "0", "Add 12 and 30.")
    (entry,) = json.loads(ask(home, "logs", "--json", "-n", "1"))
    assert entry["input_tokens"] > 0
    assert entry["output_tokens"] > 0


def test_a_completion(home: Path) -> None:
    assert ask(home, "-m", "demo-text", "-o", "max_tokens", "8", "-o", "temperature", "0", "one two")


@needs("structured")
def test_a_schema(home: Path) -> None:
    answer = ask(home, "-m", "demo", "--schema", "sum int", "-o", "temperature", "0", "Add 12 and 30.")
    assert isinstance(json.loads(answer)["sum"], int)
