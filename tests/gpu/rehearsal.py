"""A child without jax, whose parts need no time: for the tests of what its parent does with it."""

import os
import sys
import time

from gpu.child import GROUPS as REAL
from gpu.child import arguments, run_tasks
from gpu.task import Skip, Task


def figures() -> dict[str, int]:
    return {"ms": 1}


def left_out() -> dict[str, int]:
    raise Skip("nothing to do here")


def killed() -> dict[str, int]:
    os._exit(134)


def starts_only_by_xla() -> dict[str, int]:
    if options.attention != "xla":
        raise RuntimeError("no engine")
    return {"engine_s": 1}


PARTS = [Task(name, figures) for name in ("one", "two", "three", "four")]
GROUPS = {
    **dict.fromkeys(REAL, PARTS),
    "parts": [*PARTS, Task("left out", left_out)],
    "exits": [PARTS[0], Task("killed", killed), PARTS[1]],
    "engine": [Task("start", starts_only_by_xla, needed=True), *PARTS[:2]],
    "slow": [Task("slow", lambda: time.sleep(60) or {}), PARTS[0]],
}
if __name__ == "__main__":
    options = arguments(GROUPS)
    tasks = GROUPS[options.group]
    print("the last words of the child", flush=True)
    sys.exit(run_tasks(options, tasks, {"memory": 0}, lambda: "sick" not in options.faults))
