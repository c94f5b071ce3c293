"""Lines of JSON between bench_all and a child: one with settings, then a task and its figures at a time."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Tasks = Mapping[str, Callable[..., Any]]


def run_child(start: Callable[..., tuple[dict[str, Any], Tasks]]) -> None:
    """`start` takes the settings by name; it gives facts of the start and the tasks by name.

    What an engine prints goes to standard error: standard output is the protocol's.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(made: Callable[[], Any]) -> None:
        try:
            line = {"figures": made()}
        except Exception as error:  # noqa: BLE001 - whatever an engine raises becomes its row's reason
            traceback.print_exc()
            line = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    tasks: dict[str, Callable[..., Any]] = {}

    def begin() -> dict[str, Any]:
        facts, found = start(**json.loads(sys.stdin.readline()))
        tasks.update(found)
        return facts

    answer(begin)
    for line in sys.stdin:
        asked = json.loads(line)
        answer(lambda asked=asked: tasks[asked["task"]](**asked["arguments"]))
