"""An engine's server in processes of its own, on a free port of loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from benchmarks.engines import ROOT
from benchmarks.errors import EngineFailed
from benchmarks.worker import end_group, last_line

START_LIMIT, POLL = 1800.0, 0.02  # seconds
BOUND = "PORT"  # in a command: replaced by the port


class Running:
    """A server that someone else has started: it is asked, and left as it is."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            self.model = first_model(self.url)
        except OSError as error:
            raise EngineFailed(f"no server answers at {url}: {error}") from error

    def close(self) -> None:
        """It stays."""


class Served:
    """It answers when it is made. `start_s`: from its process's start to its first answer, one token."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path):
        self.log, self.url = log, ""
        port = free_port()
        began = time.perf_counter()
        with log.open("ab") as printed:
            self.process = subprocess.Popen(
                [str(port) if word == BOUND else word for word in command], cwd=ROOT, env=dict(environment),
                stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(f"http://127.0.0.1:{port}")
            self.model = first_model(self.url)
            post(self.url, {"model": self.model, "prompt": [11, 12, 13], "max_tokens": 1, "temperature": 0})
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - began

    def close(self) -> None:
        end_group(self.process)

    def memory_mb(self) -> float:
        """Of all its processes; what several share counts once (Linux)."""
        total = 0
        for pid in _family(self.process.pid):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:  # it has just ended
                continue
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1000

    def _wait(self, url: str) -> None:
        until = time.monotonic() + START_LIMIT
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise EngineFailed(f"the server has ended; {last_line(self.log)}")
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    self.url = url
                    return
            except OSError:  # nobody listens yet, or 503: it loads
                time.sleep(POLL)
        raise EngineFailed(f"the server was not ready within {START_LIMIT:.0f} s")


def first_model(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as answer:
        return str(json.load(answer)["data"][0]["id"])


def post(url: str, body: Mapping[str, object]) -> None:
    """One completion, read to its end. Raises EngineFailed."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
    except OSError as error:
        raise EngineFailed(f"the server refuses a completion: {error}") from error


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found
