"""Serves on a free port, asks one streamed chat question over HTTP, prints the answer and stops.

python scripts/quickstart_check.py QUESTION [FLAGS OF jaxpaged serve ...]
"""

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_UP_SECONDS = 600
JAXPAGED = Path(sys.executable).with_name("jaxpaged")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_ready(url: str, server: subprocess.Popen) -> None:
    """Poll /health until it answers 200."""
    deadline = time.monotonic() + START_UP_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit("The server stopped before it was ready; its messages above say why.")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
    sys.exit(f"The server was not ready within {START_UP_SECONDS} seconds.")


def ask(url: str, question: str) -> str:
    """Ask over /v1/chat/completions, printing the text as it streams in; return the whole answer."""
    body = json.dumps({"messages": [{"role": "user", "content": question}], "stream": True, "temperature": 0})
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), headers)
    answer = ""
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            data = line.decode().removeprefix("data:").strip()
            if not data or data == "[DONE]":
                continue
            for choice in json.loads(data)["choices"]:
                piece = choice["delta"].get("content") or ""
                print(piece, end="", flush=True)
                answer += piece
    print()
    return answer


def main() -> None:
    question, *flags = sys.argv[1:]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([JAXPAGED, "serve", "--host", "127.0.0.1", "--port", str(port), *flags])
    try:
        wait_until_ready(url, server)
        print(f"> {question}")
        answer = ask(url, question)
    finally:
        server.terminate()
        server.wait(timeout=30)
    if not answer.strip():
        sys.exit("The server answered with an empty text.")


if __name__ == "__main__":
    main()
