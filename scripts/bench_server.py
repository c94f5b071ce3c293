"""How many tokens a second the HTTP server can stream when the engine costs nothing.

    python scripts/bench_server.py [--streams 256 --tokens 512 --route chat --at-once]

It starts the server with an engine that steps all streams together (tests/server/engines.py), at once or
every 8 ms, opens raw sockets from this process, and counts events: one for each token. Beside it a task in the
server's own event loop notes how late it wakes up. Server, engine and client share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import server.start  # noqa: E402
from server.__main__ import main as run_server  # noqa: E402
from server.http.uvicorn import HttpServer  # noqa: E402
from tests.text.samples import hf_tokenizer  # noqa: E402

ENGINES = "tests.server.engines"
NAP = 0.005  # seconds between two looks at the loop
ROUTES = {
    "completions": ("/v1/completions", {"prompt": "hello world, the quick brown fox"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello world"}]}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--route", choices=sorted(ROUTES), default="completions")
    parser.add_argument(
        "--at-once", action="store_true", help="the engine takes no time; otherwise 8 ms a step, as a GPU's"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as probe:
        hf_tokenizer().save_pretrained(directory)
        (Path(directory) / "config.json").write_text("{}")
        port = probe.getsockname()[1]
        probe.close()
        server = start_server(directory, port, args.streams, at_once=args.at_once)
        windows = []
        try:
            for _ in range(args.repeats):
                began, before = time.monotonic(), cpu_seconds(server.pid)
                events, seconds = measure(port, args.route, args.streams, args.tokens)
                used = cpu_seconds(server.pid) - before
                windows.append((began, time.monotonic()))
                check_events(args.route, args.streams, args.tokens, events)
                print(
                    f"{args.route}: {args.streams} streams, {events} events in {seconds:.2f} s: "
                    f"{events / seconds:.0f} events/s; front end {1e6 * used / events:.1f} us of CPU an event"
                )
        finally:
            server.terminate()
            server.wait(20)
        print_lags(Path(directory) / "lags.json", windows)


def check_events(route: str, streams: int, tokens: int, events: int) -> None:
    """One event for each token, and for a chat the one with the role."""
    wanted = streams * (tokens + (route == "chat"))
    if events != wanted:
        sys.exit(f"{events} events came, not {wanted}: some were lost, or several tokens shared one")


def print_lags(path: Path, windows: list[tuple[float, float]]) -> None:
    lags = [lag for moment, lag in json.loads(path.read_text()) if any(a <= moment <= b for a, b in windows)]
    lags.sort()
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    print(f"event loop lag: p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, most {1e3 * lags[-1]:.1f} ms")


class WatchedServer(HttpServer):
    """Notes how late its event loop wakes a task that sleeps for NAP seconds."""

    lags: list[tuple[float, float]] = []  # noqa: RUF012 - one server a process

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + NAP
            await asyncio.sleep(NAP)
            self.lags.append((time.monotonic(), time.monotonic() - due))


def serve() -> None:
    """`bench_server.py serve DIRECTORY FLAGS...`: the server as users get it, watched."""
    directory, flags = Path(sys.argv[2]), sys.argv[3:]
    server.start.HttpServer = WatchedServer  # type: ignore[misc]
    sys.argv = ["server", str(directory), *flags]
    with suppress(SystemExit):
        run_server()
    (directory / "lags.json").write_text(json.dumps(WatchedServer.lags))


def start_server(directory: str, port: int, streams: int, *, at_once: bool) -> subprocess.Popen[bytes]:
    engine = f"{ENGINES}:EagerEngine" if at_once else f"{ENGINES}:GatheringEngine"
    flags = ["--port", str(port), "--max-num-seqs", str(streams), "--engine-class", engine]
    quiet = ["--uvicorn-log-level", "warning", "--disable-uvicorn-access-log"]
    command = [sys.executable, str(Path(__file__)), "serve", directory, *flags, *quiet]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not start")


def measure(port: int, route: str, streams: int, tokens: int) -> tuple[int, float]:
    """Open the streams, read them to their end; how many events came, in how many seconds."""
    path, fields = ROUTES[route]
    body = json.dumps({**fields, "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
    head = f"POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    selector, events = selectors.DefaultSelector(), 0
    began = time.perf_counter()
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(head.encode() + body)
        selector.register(connection, selectors.EVENT_READ)
    tails: dict[int, bytes] = {}
    while selector.get_map():
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                continue
            data = tails.get(key.fd, b"") + data
            events += data.count(b"data: {")
            tails[key.fd] = data[-6:] if data[-6:] != b"data: {" else b""
    return events, time.perf_counter() - began


def cpu_seconds(pid: int) -> float:
    """User and system time of one process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["serve"] else main()
