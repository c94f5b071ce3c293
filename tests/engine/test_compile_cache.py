"""Compiled programs are kept on disk, by default: the second start of the same machine and flags compiles nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.config import CompileConfig, EngineConfig
from jaxpaged.engine.startup.setup import cache_directory

ROOT = Path(__file__).resolve().parents[2]


def start(directory: Path, cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.engine.cached_start", str(directory), str(cache)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {**report, "log": done.stderr}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cold(llama: Path, cache: Path) -> dict[str, Any]:
    """What the first start said, which has filled the cache."""
    return start(llama, cache)


def test_the_second_start_compiles_nothing(llama: Path, cold: dict[str, Any], cache: Path) -> None:
    warm = start(llama, cache)
    assert cold["misses"] > 5
    assert (warm["hits"], warm["misses"]) == (cold["misses"] + cold["hits"], 0)
    assert warm["tokens"] == cold["tokens"]
    traced = list((cache / "traced").iterdir())
    assert len(traced) > 3
    assert cold["traced"] == warm["traced"] == {path.name: path.stat().st_mtime_ns for path in traced}


def test_it_is_on_by_default() -> None:
    assert EngineConfig().compile.persistent_cache


def test_a_cache_that_cannot_be_written_is_only_a_slower_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert cache_directory(CompileConfig(cache_dir=str(tmp_path / "file" / "cache"))) is None
    assert "starts will be slower" in caplog.text


def test_a_damaged_cache_is_only_a_slower_start(llama: Path, cold: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    """F16: entries cut in half, and empty ones."""
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    entries = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(entries) > 5
    for index, path in enumerate(entries):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if index % 2 else b"")
    again = start(llama, tmp_path)
    assert again["tokens"] == cold["tokens"]
    assert again["log"].count("holds damaged entries") == 1
