"""jaxpaged with what only it is asked for: where a start and a step spend their time.

python -m benchmarks.children.ours
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.children.protocol import Tasks, run_child
from benchmarks.children.start_parts import StartParts


def start(
    engine: str, model: str | None, last: int, settings: dict[str, Any], spawned: float
) -> tuple[dict[str, Any], Tasks]:
    """`spawned`: when the process was (time.time)."""
    parts = StartParts()
    parts.add("Python", time.time() - spawned)
    with parts.timed("imports"):
        from jaxpaged import LLM
    with parts.of_an_engine():
        llm = LLM(model=model, **settings)
    from benchmarks.children.paged import Paged
    from benchmarks.children.step_parts import StepParts

    with parts.timed("first answer"):
        paged = Paged(engine, llm, last)
    facts = {"load_s": llm.engine.info.start_up_seconds, "parts": parts.seconds}
    return facts, {**paged.tasks(), "step": StepParts(llm, last).measure}


if __name__ == "__main__":
    run_child(start)
