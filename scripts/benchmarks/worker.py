"""A child that holds an engine and does one task after the other (children/protocol.py is its side)."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.engines import ROOT
from benchmarks.errors import EngineFailed

START_LIMIT, TASK_LIMIT = 1800.0, 1800.0  # seconds


class Worker:
    """`log`: what the engine prints is appended there."""

    def __init__(self, command: list[str], environment: Mapping[str, str], settings: Mapping[str, Any], log: Path):
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        began = time.perf_counter()
        try:
            self.facts: dict[str, Any] = self._exchange(settings, START_LIMIT)
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - began

    def do(self, task: str, **arguments: Any) -> dict[str, Any]:
        """The figures of a task. Raises EngineFailed."""
        return self._exchange({"task": task, "arguments": arguments}, TASK_LIMIT)

    def close(self) -> None:
        end_group(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what it did not read any more
                pipe.close()

    def _exchange(self, message: Mapping[str, Any], limit: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise EngineFailed(f"it has ended; {last_line(self.log)}") from error
        line = self._line(time.monotonic() + limit)
        if not line:
            late = self.process.poll() is None
            raise EngineFailed(f"no answer within {limit:.0f} s" if late else f"it has ended; {last_line(self.log)}")
        answer = json.loads(line)
        if "error" in answer:
            raise EngineFailed(answer["error"])
        figures: dict[str, Any] = answer["figures"]
        return figures

    def _line(self, until: float) -> bytes:
        """The next line of the child; nothing at its end or when the time is up."""
        assert self.process.stdout is not None
        found = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    return b""
                read = os.read(self.process.stdout.fileno(), 1 << 16)
                if not read:
                    self.process.wait(10)
                    return b""
                found += read
        return found


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a child and what it has started; it leads their group."""
    for sent, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, sent)
            process.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"its last line: {lines[-1][-300:]}" if lines else "it printed nothing"
