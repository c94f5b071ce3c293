"""A `jaxpaged serve` of our own: started, watched and ended by scripts and tests (Linux)."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEY = "key"


@dataclass
class LiveServer:
    """A server that answers; `errors` is its standard error so far."""

    process: subprocess.Popen[str]
    url: str
    errors: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def engine_pid(self) -> int | None:
        """The engine's process, whichever thread of the front end has started it; None while there is none."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                if b"engine_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None

    def get(self, path: str) -> tuple[int, str]:
        request = urllib.request.Request(f"{self.url}{path}", headers={"x-api-key": KEY})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        if not values:
            raise KeyError(f"the server has no metric {name}")
        return sum(values)

    def is_idle(self) -> bool:
        """No request runs or waits, and no page is held."""
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
        return all(self.metric(name) == 0 for name in names)

    def resident(self) -> dict[str, int]:
        """Bytes of memory of each process."""
        pids = {"front end": self.process.pid, "engine": self.engine_pid()}
        pages = {name: Path(f"/proc/{pid}/statm").read_text().split()[1] for name, pid in pids.items() if pid}
        return {name: int(count) * resource.getpagesize() for name, count in pages.items()}

    def descriptors(self) -> int:
        """How many files and sockets the front end has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


@contextmanager
def live_server(*arguments: str) -> Iterator[LiveServer]:
    """Serve on a free port of loopback; `arguments` are those of `jaxpaged serve`. Raises RuntimeError."""
    command = [sys.executable, "-m", "jaxpaged", "serve", *arguments, "--port", "0", "--api-key", KEY]
    command += ["--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    server = LiveServer(process, "")
    assert process.stderr is not None
    assert process.stdout is not None
    reader = threading.Thread(target=server.errors.extend, args=(process.stderr,), daemon=True)
    reader.start()
    chatter = None
    try:
        server.url = next((address for line in process.stdout if (address := address_in(line))), "")
        if not server.url:
            process.wait(10)
            reader.join(5)
            raise RuntimeError(f"the server ended with {process.returncode}:\n{''.join(server.errors[-30:])}")
        chatter = threading.Thread(target=process.stdout.read, daemon=True)
        chatter.start()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        process.wait(30)
        for thread in (reader, chatter):
            if thread is not None:
                thread.join(5)
        process.stdout.close()
        process.stderr.close()


def address_in(line: str) -> str:
    """ "jaxpaged serves MODEL at http://HOST:PORT/v1 ..." """
    return line.partition(" at ")[2].partition("/v1")[0] if line.startswith("jaxpaged serves") else ""
