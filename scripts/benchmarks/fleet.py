"""The engines' processes: started when they are first needed, ended together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.engines import HF, LLAMA, OURS, VLLM, Engine, Found, environment
from benchmarks.errors import EngineFailed
from benchmarks.served import BOUND, Running, Served
from benchmarks.sizes import Sizes
from benchmarks.worker import Worker

# Limits of an engine of ours that is only asked for tokens in another dtype: few programs.
FEW = MappingProxyType({"max_num_seqs": 8, "max_num_batched_tokens": 64})


@dataclass
class Fleet:
    """model: a directory, or None for the bundled one. folder: of logs. urls: of servers that run already."""

    found: Found
    sizes: Sizes
    model: Path | None
    dtype: str
    folder: Path
    flags: tuple[str, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    running: dict[tuple[str, ...], Any] = field(default_factory=dict)
    failed: dict[tuple[str, ...], EngineFailed] = field(default_factory=dict)

    def worker(self, name: str, dtype: str = "") -> Worker:
        """An LLM or its like in a child. Raises EngineFailed, and again each time."""
        dtype = "" if self.model is None else dtype or self.dtype  # the bundled one is served in its own
        more = FEW if dtype and dtype != self.dtype else {}
        return self._started(("worker", name, dtype), lambda: self._new_worker(self.found[name], dtype, more))

    def server(self, name: str) -> Served | Running:
        """One of ours, or one that runs already. Raises EngineFailed, and again each time."""
        if name in self.urls:
            return self._started(("server", name), lambda: Running(self.urls[name]))
        return self._started(("server", name), lambda: self.new_server(name, *self.sizes.serve))

    def new_server(self, name: str, *flags: str) -> Served:
        """One more, which the caller closes; `flags`: for ours."""
        engine = self.found[name]
        command = {OURS: self._serve, VLLM: self._serve_vllm, LLAMA: self._serve_llama}[name](engine)
        return Served([*command, *(flags if name == OURS else ())], environment(name, engine.python), self._log(name))

    def new_worker(self, cache: Path | None = None) -> Worker:
        """One more of ours, which the caller closes; `cache`: for its programs, if not the user's."""
        settings = {"compile_cache_dir": str(cache)} if cache else {}
        return self._new_worker(self.found[OURS], self.dtype, settings)

    def close(self, kind: str = "") -> None:
        """End those of a kind, worker or server; or all."""
        for key in [key for key in self.running if not kind or key[0] == kind]:
            self.running.pop(key).close()

    def _started(self, key: tuple[str, ...], start: Callable[[], Any]) -> Any:
        if key in self.failed:
            raise self.failed[key]
        if key not in self.running:
            try:
                self.running[key] = start()
            except EngineFailed as error:
                self.failed[key] = error
                raise
        return self.running[key]

    def _new_worker(self, engine: Engine, dtype: str, more: Mapping[str, Any] | None = None) -> Worker:
        module = {OURS: "ours", VLLM: "paged", HF: "generate"}[engine.name]
        command = [engine.python, "-m", f"benchmarks.children.{module}"]
        model = None if self.model is None else str(self.model)
        settings: dict[str, Any] = {"model": model, "last": self.sizes.last}
        if engine.name == HF:
            settings |= {"dtype": dtype, "threads": os.cpu_count() or 1}
        else:
            llm = {"max_model_len": 1024, "dtype": dtype} if self.model else {}
            settings |= {"engine": module_of(engine.name), "settings": {**llm, **self.sizes.llm, **(more or {})}}
        if engine.name == OURS:
            settings["spawned"] = time.time()
        return Worker(command, environment(engine.name, engine.python), settings, self._log(engine.name))

    def _serve(self, engine: Engine) -> list[str]:
        model = [str(self.model), "--dtype", self.dtype] if self.model else []
        quiet = ["--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]
        return [engine.python, "-m", "jaxpaged", "serve", *model, "--port", BOUND, *quiet, *self.flags]

    def _serve_vllm(self, engine: Engine) -> list[str]:
        server = [engine.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)]
        return [*server, "--port", BOUND, "--dtype", self.dtype]

    def _serve_llama(self, engine: Engine) -> list[str]:
        from benchmarks.checkpoint import write_gguf  # it loads transformers, which a rehearsal can do without

        assert self.model is not None  # peers are compared on a checkpoint that we write
        server = [engine.python, "-m", "benchmarks.children.llama_server", str(write_gguf(self.model)), BOUND]
        return [*server, str(os.cpu_count() or 1)]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def module_of(name: str) -> str:
    return {OURS: "jaxpaged", VLLM: "vllm"}[name]


def checkpoint(folder: Path) -> Path:
    """That of the comparison, written where it is not there yet."""
    from benchmarks.checkpoint import write_checkpoint

    return write_checkpoint(folder / "smol135")
