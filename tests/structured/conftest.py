"""One engine for all tests of this folder."""

from pathlib import Path

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.sampling.variant import Variant
from tests.structured import engines

VARIANTS = (Variant.GREEDY, Variant.PLAIN, Variant.LOGPROBS)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.write_model(tmp_path_factory.mktemp("structured"))


@pytest.fixture(scope="session")
def built(model: Path) -> Engine:
    """Every sampler variant but FULL: ask for log probabilities where stages are needed."""
    return engines.build(model, VARIANTS)


@pytest.fixture
def engine(built: Engine) -> Engine:
    return engines.another(built)
