"""Every program is compiled before ready, in parallel, with a progress bar; afterwards a compile is an error."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import jax
from tqdm import tqdm

from jaxpaged.errors import CompileGuardError

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
CACHED_FROM = "jax_persistent_cache_min_compile_time_secs"
Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """What to compile: a pure function, its abstract arguments, and which of them it may overwrite.

    cacheable: whether the persistent compile cache can hold it.
    results: a tree like the one it returns, whatever its leaves; to keep the program as it was traced.
    """

    key: Key
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    donate: tuple[int, ...] = ()
    cacheable: bool = True
    results: Any = None

    @property
    def name(self) -> str:
        return " ".join(str(getattr(part, "name", part)).lower() for part in self.key)


def lower(program: Program) -> Any:
    """Trace a program with its abstract arguments; `.compile()` of the result may run on any thread."""
    return jax.jit(program.function, donate_argnums=program.donate).lower(*program.arguments)


Lowering = Callable[[Program], Any]


@dataclass(slots=True)
class ProgramTable:
    """The compiled programs by key. `lower` runs on the calling thread, `compile` in a pool."""

    threads: int
    compiled: dict[Key, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def compile(self, programs: Iterable[Program], lower: Lowering = lower, *, progress: bool = True) -> None:
        """Compile all programs that the table does not hold yet."""
        started = time.monotonic()
        wanted = [program for program in programs if program.key not in self.compiled]
        with tqdm(total=len(wanted), desc="compiling", unit="program", disable=not progress) as bar:
            with nothing_cached():
                self._compile([program for program in wanted if not program.cacheable], lower, bar)
            self._compile([program for program in wanted if program.cacheable], lower, bar)
        self.seconds += time.monotonic() - started

    def _compile(self, programs: Sequence[Program], lower: Lowering, bar: tqdm[NoReturn]) -> None:
        with ThreadPoolExecutor(self.threads, thread_name_prefix="compile") as pool:
            futures = {pool.submit(lower(program).compile): program for program in programs}
            for future in as_completed(futures):
                program = futures[future]
                self.compiled[program.key] = future.result()
                bar.set_postfix_str(program.name)
                bar.update()

    def temporaries(self) -> int:
        """Bytes that the compiled programs need on one device beside arguments and results: they run one by one."""
        return max(int(program.memory_analysis().temp_size_in_bytes) for program in self.compiled.values())

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop programs that were compiled for other shapes."""
        for key in keys:
            del self.compiled[key]

    def __getitem__(self, key: Key) -> Any:
        try:
            return self.compiled[key]
        except KeyError:
            raise CompileGuardError(f"program {key} was not compiled before ready") from None


class CompileCounter:
    """Counts backend compiles of this process, those read from the compile cache too: none should happen after ready.

    refusing() makes an error of each compile that its thread begins.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.local()
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def _on_event(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == COMPILE_EVENT:
            with self._lock:
                self.count += 1
            if getattr(self._thread, "refuses", False):
                raise CompileGuardError("a program was compiled after ready; the stack says which operation wanted it")

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Inside, a compile on this thread raises CompileGuardError."""
        self._thread.refuses = True
        try:
            yield
        finally:
            self._thread.refuses = False

    def close(self) -> None:
        jax.monitoring.unregister_event_duration_listener(self._on_event)


@contextmanager
def nothing_cached() -> Iterator[None]:
    """Inside, no program is written to the persistent compile cache: it crashes on those that call oneDNN."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update(CACHED_FROM, math.inf)
    try:
        yield
    finally:
        jax.config.update(CACHED_FROM, before)


def enable_persistent_cache(directory: Path) -> None:
    """Keep compiled programs on disk between runs; a directory that cannot be written is only a slower start."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update(CACHED_FROM, 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
