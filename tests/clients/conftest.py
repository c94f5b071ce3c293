"""Tests that run inside the environments of clients, against a server that scripts/test_clients has started."""

from __future__ import annotations

from pathlib import Path

import pytest

MODEL = "jaxpaged-demo"
KEY = "key"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server-url", help="the server, without /v1; only scripts/test_clients gives it")
    parser.addoption("--server-python", help="an interpreter that has jaxpaged")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The main suite has not got these clients."""
    return True if config.getoption("--server-url", None) is None else None


@pytest.fixture(scope="session")
def url(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("--server-url")


@pytest.fixture(scope="session")
def base_url(url: str) -> str:
    return f"{url}/v1"


@pytest.fixture(scope="session")
def demo() -> Path:
    """The bundled model's directory, as a tokenizer."""
    return Path(__file__).resolve().parents[2] / "jaxpaged" / "assets" / "demo"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
