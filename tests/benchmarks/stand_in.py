"""A server's engine for the bundled model's tokens, and an engine's child that needs no engine."""

from __future__ import annotations

import os
from typing import Any, Self

from benchmarks.children.protocol import Tasks, run_child
from jaxpaged.config import EngineConfig
from tests.fake_engine import FakeEngine


class BundledEngine(FakeEngine):
    """Echoes at once: --engine-class tests.benchmarks.stand_in:BundledEngine."""

    @classmethod
    def build(cls, config: EngineConfig, *, devices: Any = None, mesh: Any = None, progress: bool = True) -> Self:
        return cls(vocab_size=1280, max_model_len=2048)


def refuse() -> None:
    raise ValueError("no such thing")


def die() -> None:
    print("the last words", flush=True)
    os._exit(3)


def start(greeting: str) -> tuple[dict[str, Any], Tasks]:
    if not greeting:
        raise KeyError("a greeting")
    print("noise", flush=True)  # as engines print
    return {"load_s": 1.5}, {"double": lambda number: {"number": 2 * number}, "refuse": refuse, "die": die}


if __name__ == "__main__":
    run_child(start)
