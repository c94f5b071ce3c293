"""LLM.cache_prefix: a system prompt is computed once, and stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.errors import RequestError
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.metric_snapshot import Counter
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.llm import LLM
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from tests.engine import tiny
from tests.engine.drive import assert_idle, rescheduled

SYSTEM = [(11 * i + 2) % tiny.VOCAB for i in range(70)]
PARAMS = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)


def llm(engine: Engine, directory: Path, **limits: int) -> LLM:
    """An LLM without a tokenizer over the shared engine's programs, with a pool of its own."""
    front_end = FrontEnd(None, None, GenerationConfig())
    return LLM.from_engine(rescheduled(engine, **limits), front_end, tiny.engine_config(directory))


def ask(model: LLM, question: int, salt: str | None = None) -> RequestOutput:
    prompt = {"prompt_token_ids": [*SYSTEM, question, 5], **({"cache_salt": salt} if salt else {})}
    (output,) = model.generate(prompt, PARAMS, use_tqdm=False)
    return output


def flood(model: LLM) -> None:
    prompts = [[(3 * j + i) % tiny.VOCAB for j in range(90)] for i in range(6)]
    model.generate(prompts, SamplingParams(temperature=0, max_tokens=30), use_tqdm=False)


def hits(model: LLM) -> int:
    (metric,) = [metric for metric in model.get_metrics() if metric.name == "vllm:prefix_cache_hits"]
    assert isinstance(metric, Counter)
    return metric.value


def test_a_prefix_outlives_the_requests_that_would_evict_it(engine: Engine, llama: Path) -> None:
    cold = ask(llm(engine, llama), 3)
    model = llm(engine, llama, pages=14)
    with model.cache_prefix(SYSTEM) as prefix:
        assert prefix.num_tokens == 64
        flood(model)
        before = hits(model)
        warm = ask(model, 3)
        assert warm.num_cached_tokens == 64
        assert hits(model) - before == 64
        assert warm.outputs[0].token_ids == cold.outputs[0].token_ids
        assert ask(model, 3, salt="x").num_cached_tokens == 0
    assert_idle(model.engine)
    flood(model)
    assert ask(model, 3).num_cached_tokens == 0
    prefix.release()


def test_a_salted_prefix(engine: Engine, llama: Path) -> None:
    model = llm(engine, llama)
    prefix = model.cache_prefix({"prompt_token_ids": SYSTEM, "cache_salt": "x"})
    assert ask(model, 3).num_cached_tokens == 0
    assert ask(model, 3, salt="x").num_cached_tokens == 64
    prefix.release()
    assert_idle(model.engine)


def test_more_than_half_the_pool_is_refused_and_leaves_nothing(engine: Engine, llama: Path) -> None:
    model = llm(engine, llama, pages=8)
    with pytest.raises(RequestError, match="has 4 KV pages, 0 pages are pinned already, and no more than 3"):
        model.cache_prefix(SYSTEM)
    assert_idle(model.engine)


def test_changed_weights_release_it(engine: Engine, llama: Path) -> None:
    model = llm(engine, llama)
    prefix = model.cache_prefix(SYSTEM)
    model.reset_prefix_cache()
    assert_idle(model.engine)
    assert ask(model, 3).num_cached_tokens == 0
    prefix.release()


def test_beams_run_beside_a_pinned_prefix_and_on_it(engine: Engine, llama: Path) -> None:
    """4 of 13 pages are pinned: too few are left for 4 long beams, enough for 4 short ones at a time."""
    params = BeamSearchParams(beam_width=4, max_tokens=20, ignore_eos=True)
    prompts = [[*SYSTEM, 7], [(5 * i + 1) % tiny.VOCAB for i in range(20)], [*SYSTEM, 9, 4]]
    alone = [llm(engine, llama).beam_search([prompt], params)[0] for prompt in prompts]
    model = llm(engine, llama, pages=14)
    with model.cache_prefix(SYSTEM):
        wide = BeamSearchParams(beam_width=4, max_tokens=30, ignore_eos=True)
        (refused,) = model.beam_search([prompts[1]], wide)
        assert "beside pinned prefixes there are 9" in (refused.error or "")
        together = model.beam_search(prompts, params)
    for got, want in zip(together, alone, strict=True):
        assert [one.tokens for one in got.sequences] == [one.tokens for one in want.sequences]
        assert [one.score for one in got.sequences] == [one.score for one in want.sequences]
    assert_idle(model.engine)
