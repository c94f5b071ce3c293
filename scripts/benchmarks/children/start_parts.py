"""What a start's wall time goes to, on the thread that starts: parts that add up to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

REST = "weights, first run"
READING = "model's files"
TRACING = "tracing"
COMPILING = "compiling or reading programs"
TRACES = ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")
STAGES = {"set_up": READING, "read_model": READING, "choose_context": READING, "compile_programs": COMPILING}


@dataclass
class StartParts:
    """Seconds by part, in the order of their beginnings."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - began)

    @contextmanager
    def of_an_engine(self) -> Iterator[None]:
        """Inside an engine is built; what no stage has taken is the rest."""
        import jax

        from jaxpaged.engine import build

        stages = {name: part for name, part in STAGES.items() if hasattr(build, name)}
        originals = {name: getattr(build, name) for name in stages}
        inside: dict[str, float] = dict.fromkeys((READING, TRACING, COMPILING), 0.0)
        traced = [0.0]

        def on_event(event: str, seconds: float, **_: Any) -> None:
            traced[0] += seconds if event in TRACES else 0.0

        def timed(part: str, function: Any) -> Any:
            @wraps(function)
            def run(*args: Any, **kwargs: Any) -> Any:
                began, before = time.perf_counter(), traced[0]
                try:
                    return function(*args, **kwargs)
                finally:
                    tracing = min(traced[0] - before, time.perf_counter() - began)
                    inside[TRACING] += tracing
                    inside[part] += time.perf_counter() - began - tracing

            return run

        jax.monitoring.register_event_duration_secs_listener(on_event)
        for name, part in stages.items():
            setattr(build, name, timed(part, originals[name]))
        began = time.perf_counter()
        try:
            yield
        finally:
            for name, function in originals.items():
                setattr(build, name, function)
            jax.monitoring.unregister_event_duration_listener(on_event)
            for part, seconds in inside.items():
                self.add(part, seconds)
            self.add(REST, time.perf_counter() - began - sum(inside.values()))
