"""The child's side: runs the parts of a group one after the other and writes down how each one ended.

python -m gpu.child GROUP --events FILE --out DIRECTORY [--only '["a part"]'] [--quick] ...
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpu.events import Event, append
from gpu.faults import commit
from gpu.task import Setup, Skip, Task
from gpu.watch import named

# What lists a group's tasks: module:function, which takes a Setup.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "ladder": "gpu.gate:ladder",
        "specs": "gpu.gate:specs",
        "cases": "gpu.attention:main_cases",
        "more cases": "gpu.peers:more_cases_and_peers",
        "sweep": "gpu.sweep:tasks",
        "profiled": "gpu.profiled:tasks",
        "engine, first": "gpu.engine:first",
        "engine, second": "gpu.engine:second",
    }
)


def main() -> int:
    options = arguments(GROUPS)
    lies = frozenset(part for part, kind in options.faults.items() if kind == "wrong")
    setup = Setup(options.out, options.quick, options.attention, options.label, lies)
    module, function = GROUPS[options.group].split(":")
    tasks: list[Task] = getattr(importlib.import_module(module), function)(setup)
    return run_tasks(options, tasks, _device_facts(), _device_answers)


def run_tasks(
    options: argparse.Namespace, tasks: list[Task], facts: Mapping[str, Any], answers: Callable[[], bool]
) -> int:
    """Those that the options choose. answers: whether the device still does, asked after an exception."""
    index, count = options.share
    chosen = [task for task in tasks if options.only is None or task.needed or task.name in options.only][index::count]
    append(options.events, Event("ready", figures=facts, names=tuple(task.name for task in chosen)))
    for task in chosen:
        append(options.events, Event("begin", task.name))
        end = _run(task, options.faults, options.label)
        append(options.events, end)
        if end.status == "raise" and (task.needed or not answers()):
            append(options.events, Event("needed" if task.needed else "sick", task.name, detail=end.detail))
            return 1
    return 0


def arguments(groups: Iterable[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=groups)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attention", choices=("auto", "xla"), default="auto")
    parser.add_argument("--label", default="")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1))
    parser.add_argument("--faults", type=json.loads, default={})
    parser.add_argument("--only", type=json.loads)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def _run(task: Task, faults: Mapping[str, str], label: str) -> Event:
    began = time.monotonic()

    def end(status: str, detail: str = "", figures: Any = None) -> Event:
        return Event("end", task.name, status, detail, time.monotonic() - began, figures)

    try:
        commit(faults, named(task.name, label))
        figures = task.run()
    except Skip as skip:
        return end("skipped", str(skip))
    except Exception as error:  # noqa: BLE001 - the time on a card is short: what follows must still run
        traceback.print_exc()
        return end("raise", f"{type(error).__name__}: {error}"[:500])
    problem = figures.get("problem", "") if isinstance(figures, Mapping) else ""
    return end("wrong" if problem else "ok", problem, figures)


def _device_answers() -> bool:
    """An error of CUDA stays with the process: all that follows would fail too."""
    import jax
    import numpy as np

    try:  # a copy, because an operation would be compiled
        np.asarray(jax.device_put(np.zeros(8, np.float32)))
    except RuntimeError:
        return False
    return True


def _device_facts() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "capability": str(getattr(device, "compute_capability", "")),
        "memory": (device.memory_stats() or {}).get("bytes_limit", 0),
        "runtime": device.client.platform_version.splitlines()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
