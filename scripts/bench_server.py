"""How many tokens a second the HTTP server can stream when the engine costs nothing.

    python scripts/bench_server.py [--streams 256 --tokens 512 --route chat]

It starts `python -m server` with an engine that steps all streams every 8 ms (tests/server/engines.py), opens raw
sockets from this process, and counts events. Server, engine and client share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.text.samples import hf_tokenizer  # noqa: E402

ENGINE = "tests.server.engines:GatheringEngine"
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
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as probe:
        hf_tokenizer().save_pretrained(directory)
        (Path(directory) / "config.json").write_text("{}")
        port = probe.getsockname()[1]
        probe.close()
        server = start_server(directory, port, args.streams)
        try:
            for _ in range(args.repeats):
                before = cpu_seconds(server.pid)
                events, seconds = measure(port, args.route, args.streams, args.tokens)
                used = cpu_seconds(server.pid) - before
                print(
                    f"{args.route}: {args.streams} streams, {events} events in {seconds:.2f} s: "
                    f"{events / seconds:.0f} events/s; front end {1e6 * used / events:.1f} us of CPU an event"
                )
        finally:
            server.terminate()
            server.wait(20)


def start_server(directory: str, port: int, streams: int) -> subprocess.Popen[bytes]:
    flags = ["--port", str(port), "--max-num-seqs", str(streams), "--engine-class", ENGINE]
    quiet = ["--uvicorn-log-level", "warning", "--disable-uvicorn-access-log"]
    command = [sys.executable, "-m", "server", directory, *flags, *quiet]
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
    main()
