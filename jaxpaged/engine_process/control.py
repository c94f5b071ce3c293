"""What may be asked of the engine's process beside requests: sleep, weights, caches, profiles, figures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jaxpaged.engine.messages import EngineStats
from jaxpaged.engine.sleep import check_level, check_tags
from jaxpaged.engine_process import calls
from jaxpaged.engine_process.connection import EngineConnection
from jaxpaged.errors import RequestError
from jaxpaged.scheduling.stats import KVStats

BY_NAME = (
    "sleep wake_up is_sleeping update_weights reset_prefix_cache kv_stats start_profile stop_profile".split()
)  # what collective_rpc() may call


class EngineControl:
    """The part of AsyncLLM that does not answer prompts: the engine's health, and calls that wait for the engine.

    These raise RequestError, ConfigError and EngineDeadError.
    """

    _connection: EngineConnection

    def watch(self) -> None:
        """Notice from now on, requests or not, when the engine dies or gets stuck. Needs a running event loop."""
        self._connection.watch()

    @property
    def is_running(self) -> bool:
        """False while the engine is dead."""
        return self._connection.dead is None

    @property
    def step_timeout(self) -> float:
        """Seconds without a step, while requests wait, after which the engine counts as stuck; settable."""
        return self._connection.step_timeout

    @step_timeout.setter
    def step_timeout(self, seconds: float) -> None:
        self._connection.step_timeout = seconds

    def is_healthy(self) -> bool:
        """The engine is alive and, while requests wait for it, has made a step within `step_timeout` seconds."""
        return self._connection.is_healthy()

    def check_health(self) -> None:
        """Raise EngineDeadError when the engine is dead or stuck."""
        self._connection.check_health()

    def stats(self) -> EngineStats:
        """The engine's last word about itself; `last_step_age` as seen from here, so that silence counts."""
        return self._connection.stats()

    async def sleep(self, level: int = 1) -> None:
        """Give device memory back: level 1 keeps the weights in host memory, 2 drops them, 0 keeps everything.

        Raises RequestError while requests are unfinished.
        """
        await self._connection.call(calls.Sleep(check_level(level)))

    async def wake_up(self, tags: Sequence[str] | None = None) -> bool:
        """Take the device memory again: all, or "weights" or "kv_cache". After level 2 the weights are zero.

        Returns whether the engine is awake, which takes both.
        """
        await self._connection.call(calls.WakeUp(check_tags(tags)))
        return not await self.is_sleeping()

    async def is_sleeping(self) -> bool:
        """Whether the engine sleeps."""
        return bool(await self._connection.call(calls.IsSleeping()))

    async def update_weights(self, path: str | Path) -> None:
        """Replace the weights by those of a directory with safetensors files, also of requests that run."""
        await self._connection.call(calls.UpdateWeights(os.fspath(path)))

    async def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; always True."""
        return bool(await self._connection.call(calls.ResetPrefixCache()))

    async def kv_stats(self) -> KVStats:
        """What sharing saves and what is wasted of the KV pages, averaged since start."""
        return cast(KVStats, await self._connection.call(calls.ReadKVStats()))

    async def start_profile(self, directory: str | Path | None = None) -> str:
        """Begin a jax.profiler trace in the engine's process; returns its directory, a new one where none is given."""
        return str(await self._connection.call(calls.StartProfile(None if directory is None else os.fspath(directory))))

    async def stop_profile(self) -> str:
        """End and write the trace; returns its directory."""
        return str(await self._connection.call(calls.StopProfile()))

    async def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """One of the calls above by its name; the list has one result, the only worker's.

        Raises TimeoutError after `timeout` seconds, and RequestError for another method or a function, which cannot
        cross into the engine's process.
        """
        if method not in BY_NAME:
            raise RequestError(f"the engine's process takes no {method!r}; call one of {', '.join(BY_NAME)}.", "method")
        async with asyncio.timeout(timeout):
            return [await getattr(self, str(method))(*args, **(kwargs or {}))]
