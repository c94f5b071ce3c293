"""The real engine, killed in the middle of an answer: it comes back by itself and answers as before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.engine_process.supervisor import RestartPolicy
from jaxpaged.errors import EngineRestartingError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from tests.engine import tiny

pytestmark = pytest.mark.timeout(600)


async def tokens(llm: AsyncLLM, count: int) -> list[int]:
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY)
    async for output in llm.generate({"prompt_token_ids": [1, 2, 3]}, params):
        return output.outputs[0].token_ids
    raise AssertionError("no output")


async def assert_it_comes_back(llm: AsyncLLM) -> None:
    llm.watch()
    before = await tokens(llm, 20)
    lost = asyncio.create_task(tokens(llm, 60))
    while llm.stats().num_running == 0:
        await asyncio.sleep(0.001)
    llm._client.kill()
    with pytest.raises(EngineRestartingError):
        await lost
    while not llm.is_running:
        await asyncio.sleep(0.05)
    assert await tokens(llm, 20) == before
    assert llm.is_healthy()
    assert llm.stats().kv_cache_usage == 0


def test_it_comes_back(tmp_path: Path) -> None:
    model = tiny.write_llama(tmp_path / "model")
    small = {"max_num_seqs": 1, "max_num_batched_tokens": 4, "layer_loop": "scan", "variants": ("greedy",)}
    config = tiny.engine_config(model, **small, persistent_cache=True, cache_dir=str(tmp_path / "cache"))
    llm = AsyncLLM(config, restarts=RestartPolicy(most=1, first_delay=0.1), progress=False)
    try:
        asyncio.run(assert_it_comes_back(llm))
    finally:
        llm.shutdown()
