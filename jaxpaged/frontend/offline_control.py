"""What may be asked of an LLM's engine beside requests: sleep, weights, caches, profiles, figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpaged.config import EngineConfig
from jaxpaged.errors import RequestError
from jaxpaged.frontend.llm_arguments import needs, refuse
from jaxpaged.frontend.metric_snapshot import Metric, metric_snapshot
from jaxpaged.frontend.offline_requests import OfflineRequests

if TYPE_CHECKING:
    from jaxpaged.engine.engine import Engine
    from jaxpaged.scheduling.stats import KVStats

PauseMode = Literal["abort", "wait", "keep"]
_ONE_STEP = "update_weights() takes all of them in one step."


class OfflineControl:
    """The part of LLM that does not answer prompts; the methods are vLLM's."""

    config: EngineConfig
    engine: Engine
    _requests: OfflineRequests

    def kv_stats(self) -> KVStats:
        """What sharing saves and what is wasted of the KV pages, averaged since start or reset_kv_stats()."""
        return self.engine.kv_stats()

    def reset_kv_stats(self) -> None:
        """Begin the averages of kv_stats() anew."""
        self.engine.reset_kv_stats()

    def get_metrics(self) -> list[Metric]:
        """A snapshot of the engine's counters and gauges, under vLLM's names."""
        return metric_snapshot(self.engine.stats(), self.engine.info.model)

    def get_world_size(self, include_dp: bool = True) -> int:
        """How many devices serve the model; without data parallelism, how many share each layer."""
        parallel = self.config.parallel
        return parallel.tensor_parallel_size * (parallel.data_parallel_size if include_dp else 1)

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        """Forget every cached prefix; True. Requests that run go on, and what they computed is not cached later.

        The arguments are vLLM's: nothing runs between two calls, and there is no connector.
        """
        return self.engine.reset_prefix_cache()

    def reset_mm_cache(self) -> None:
        """Forget cached images and sounds: there are none."""

    def update_weights(self, weights: Mapping[str, Any] | str | Path) -> None:
        """Replace the weights between steps, without a compile or a second copy.

        `weights` is checkpoint name -> array, or a directory with safetensors files. Raises ConfigError.
        """
        self.engine.update_weights(weights)

    def sleep(self, level: int = 1, mode: PauseMode = "abort") -> None:
        """Give device memory back: level 1 keeps the weights in host memory, 2 drops them, 0 keeps everything.

        `mode` is about what enqueue() has taken: "abort" ends it, "wait" answers it first, "keep" leaves it in the
        queue for wait_for_completion() after wake_up(). Raises RequestError.
        """
        if mode not in ("abort", "wait", "keep"):
            raise RequestError(f"mode is {mode!r}; give 'abort', 'wait' or 'keep'.", "mode")
        if mode == "abort":
            self._requests.abort_queued()
        elif mode == "wait":
            self._requests.answer_queued(False)
        self.engine.sleep(level)

    def wake_up(self, tags: Sequence[str] | None = None) -> bool:
        """Take the device memory again; `tags` ("weights", "kv_cache", "scheduling") says which, all by default.

        Returns whether the engine is awake, which takes both.
        """
        self.engine.wake_up(tags)
        return not self.engine.is_sleeping()

    def is_sleeping(self) -> bool:
        """Whether sleep() has been called, and wake_up() not yet."""
        return self.engine.is_sleeping()

    def start_profile(
        self,
        directory: str | Path | None = None,
        *,
        profile_prefix: None = None,
        delay_iterations: None = None,
        max_iterations: None = None,
        profiler_kwargs: None = None,
    ) -> str:
        """Begin a jax.profiler trace; returns its directory, a new one where none is given. Raises RequestError."""
        refuse(
            profile_prefix=profile_prefix,
            delay_iterations=delay_iterations,
            max_iterations=max_iterations,
            profiler_kwargs=profiler_kwargs,
        )
        return self.engine.start_profile(None if directory is None else os.fspath(directory))

    def stop_profile(self) -> str:
        """End and write the trace; returns its directory. Raises RequestError when none was begun."""
        return self.engine.stop_profile()

    def collective_rpc[T](
        self,
        method: str | Callable[..., T],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[T]:
        """Call a method of the only worker, the Engine, by its name, or a function with the Engine as its first one.

        One process drives all devices, so the list has one result, and as the call runs here `timeout` ends nothing.
        Raises RequestError for a method that an Engine does not have.
        """
        if callable(method):
            return [method(self.engine, *args, **(kwargs or {}))]
        found = None if method.startswith("_") else getattr(self.engine, method, None)
        if not callable(found):
            raise RequestError(f"the engine has no method {method!r}; give one of Engine's, or a function.", "method")
        return [found(*args, **(kwargs or {}))]

    apply_model = needs(
        "apply_model",
        "a PyTorch module",
        "weights are JAX arrays here. Read them by collective_rpc(lambda engine: engine.runner.leaves).",
    )
    release_kv_cache_memory = needs("release_kv_cache_memory", "virtual memory", "sleep() gives the memory back.")
    init_weight_transfer_engine = needs("init_weight_transfer_engine", "a second process", _ONE_STEP)
    start_weight_update = needs("start_weight_update", "several steps", _ONE_STEP)
    finish_weight_update = needs("finish_weight_update", "several steps", _ONE_STEP)
