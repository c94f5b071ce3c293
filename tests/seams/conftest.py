"""One small engine for the seams that need no other: greedy, prompt embeddings, steps of 8 tokens."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpaged.engine.engine import Engine
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_llama(tmp_path_factory.mktemp("llama"), seed=1)


@pytest.fixture(scope="session")
def oracle(llama: Path) -> Oracle:
    return oracle_of(llama, tiny.CONTEXT)


@pytest.fixture(scope="session")
def tensors(llama: Path) -> dict[str, np.ndarray]:
    """The checkpoint by name."""
    return load_file(llama / "model.safetensors")


@pytest.fixture(scope="session")
def engine(llama: Path) -> Engine:
    """Idle between tests, with its own weights; see drive.rescheduled."""
    return tiny.build(llama, tiny.GREEDY, max_num_batched_tokens=8, enable_prompt_embeds=True)
