"""A model whose context is longer than the memory starts by itself, with a shorter one, and says so."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.engine.startup.context import layout_of
from jaxpaged.errors import MemoryPlanError
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from tests.engine import tiny

LONG = 65536
SMALL = {"max_num_seqs": 2, "max_num_batched_tokens": 8}


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_llama(tmp_path_factory.mktemp("long"), max_position_embeddings=LONG)


def test_the_context_is_what_fits_and_requests_up_to_it_are_served(long_model: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "jaxpaged"):
        engine = tiny.build(long_model, tiny.GREEDY, **SMALL, max_model_len=None, num_gpu_blocks_override=41)
    info = engine.info
    assert info.max_model_len % info.page_size == 0
    assert 256 <= info.max_model_len <= 40 * info.page_size
    assert info.max_model_len >= 0.8 * 40 * info.page_size
    assert f"what the KV pages hold of the model's {LONG:,}" in info.report
    assert f"the context is {info.max_model_len} of the model's {LONG} tokens" in caplog.text
    prompt = [1] * (info.max_model_len - 1)
    engine.add(EngineRequest(1, prompt, SamplingParams(temperature=0, max_tokens=1, ignore_eos=True), 0.0))
    outputs = []
    while engine.has_work():
        outputs += engine.step()
    assert outputs[-1].finish_reason == "length"


def test_a_context_that_was_asked_for_is_not_shortened(long_model: Path) -> None:
    with pytest.raises(MemoryPlanError, match="max_model_len"):
        tiny.build(long_model, tiny.GREEDY, **SMALL, max_model_len=LONG, num_gpu_blocks_override=41)


def test_hardly_any_context_is_an_error(long_model: Path) -> None:
    with pytest.raises(MemoryPlanError):
        tiny.build(long_model, tiny.GREEDY, **SMALL, max_model_len=None, num_gpu_blocks_override=3)


def test_a_context_that_fits_is_the_models_own(tmp_path: Path) -> None:
    engine = tiny.build(tiny.write_llama(tmp_path), tiny.GREEDY, **SMALL, max_model_len=None)
    assert "the model's own" in engine.info.report
    for word in ("weights", "context", "page", "pool", "step", "kernels"):
        assert f"\n  {word} " in "\n" + engine.info.report


def test_every_program_has_room_for_what_it_needs(tmp_path: Path) -> None:
    """A wide vocabulary: the sampler needs more beside its arguments than the layers do."""
    model = tiny.write_llama(tmp_path, vocab_size=4096)
    engine = tiny.build(model, (Variant.FULL,), max_num_seqs=8, max_num_batched_tokens=8)
    programs = engine.runner.programs
    needed = {key: program.memory_analysis().temp_size_in_bytes for key, program in programs.compiled.items()}
    assert max(needed.values()) > max(size for key, size in needed.items() if key[0] == "backbone")
    assert programs.temporaries() == max(needed.values())
    shown = re.search(r"temporaries +([\d.]+) (MiB|KiB)", engine.info.report)
    assert shown is not None
    unit = {"MiB": 1 << 20, "KiB": 1 << 10}[shown[2]]
    assert float(shown[1]) * unit == pytest.approx(max(needed.values()), abs=unit * 0.01)


def test_attention_by_xla_has_its_own_layout_whatever_the_device_is() -> None:
    hopper = SimpleNamespace(platform="gpu", compute_capability="9.0")
    assert layout_of("auto", hopper).name == "hopper"
    assert layout_of("xla", hopper).name == "xla"
