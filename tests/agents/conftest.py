"""Agents from npm and the server that they talk to; scripts/test_clients says where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer, live_server
from tests.agents.checkpoint import CONTEXT, SECRET, write_checkpoint
from tests.agents.turn import MODEL, Agents

SETTINGS = ("--max-model-len", str(CONTEXT), "--max-num-seqs", "4", "--max-num-batched-tokens", "512")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--agents", help="the directory where npm has installed package.json; scripts/test_clients gives it"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The main suite has not got the agents."""
    return True if config.getoption("--agents", None) is None else None


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("workspace")
    (directory / "notes.txt").write_text(f"{SECRET}\n")
    return directory


@pytest.fixture(scope="session")
def server(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    model = write_checkpoint(tmp_path_factory.mktemp("model"), workspace / "notes.txt")
    with live_server("--model", str(model), "--served-model-name", MODEL, *SETTINGS) as server:
        yield server
    assert "Traceback" not in "".join(server.errors)


@pytest.fixture
def agents(pytestconfig: pytest.Config, server: LiveServer, workspace: Path, tmp_path: Path) -> Agents:
    binaries = Path(pytestconfig.getoption("--agents")).resolve() / "node_modules" / ".bin"
    return Agents(binaries, server, workspace, home=tmp_path)
