"""One engine for most tests of this folder: compiling its programs costs more than all that runs on them."""

from pathlib import Path

import numpy as np
import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.sampling.variant import Variant
from tests.engine import tiny
from tests.engine.dense import Oracle, oracle_of


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def oracle(llama: Path) -> Oracle:
    return oracle_of(llama, tiny.CONTEXT)


@pytest.fixture(scope="session")
def engine(llama: Path) -> Engine:
    """Pages of 16; steps of 8 to 64 tokens; every sampler variant. Idle between tests; see drive.rescheduled."""
    return tiny.build(llama, max_num_batched_tokens=64, max_num_seqs=16)


@pytest.fixture(scope="session")
def embeds_engine(llama: Path) -> Engine:
    """Takes prompt embeddings; pages of 16, steps of 8 and 16 tokens; requests ask for log probabilities."""
    return tiny.build(llama, (Variant.LOGPROBS,), enable_prompt_embeds=True, max_num_batched_tokens=16, max_num_seqs=16)


@pytest.fixture(scope="session")
def two_shards(llama: Path) -> Engine:
    """On two devices; pages of 16, steps of 8 and 16 tokens a shard; requests ask for log probabilities."""
    return tiny.build(llama, (Variant.LOGPROBS,), data_parallel_size=2, max_num_batched_tokens=16)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(list(request.node.name.encode()))
