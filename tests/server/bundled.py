"""The bundled model in an engine process of its own, started once for the files that want it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from jaxpaged import AsyncLLM, EngineConfig
from jaxpaged.config import ModelConfig, SchedulerConfig
from server.app import build_app
from server.flags import ServerOptions


@dataclass(frozen=True)
class Bundled:
    """`run` runs a scenario on the loop that the engine's messages come to."""

    llm: AsyncLLM
    runner: asyncio.Runner

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        self.runner.run(scenario)

    def client(self, options: ServerOptions | None = None) -> httpx.AsyncClient:
        """Of a server in this process; the engine outlives it."""
        transport = httpx.ASGITransport(build_app(self.llm, options), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test", timeout=None)


def start() -> Iterator[Bundled]:
    config = EngineConfig(
        ModelConfig(max_model_len=256), scheduler=SchedulerConfig(max_num_seqs=8, max_num_batched_tokens=64)
    )
    with asyncio.Runner() as runner:
        llm = AsyncLLM(config, progress=False)
        yield Bundled(llm, runner)
        llm.shutdown()
