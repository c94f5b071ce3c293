"""What a user can get wrong on the command line and hears of at once: one sentence, exit code 2."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jaxpaged.cli.main import main


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxpaged: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["latency", "--num-iters", "0"], ["--num-iters", "'0' is not a positive integer"]),
        (["latency", "--num-iters-warmup", "-1"], ["'-1' is below 0"]),
        (["throughput", "--input-len", "0"], ["--input-len"]),
        (["serve", "--max-concurrency", "x"], ["'x' is not an integer"]),
    ],
)
def test_numbers_that_make_no_workload(flags: list[str], words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *flags])
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("chat", "--max-tokens", "0"),
        ("chat", "--temperature", "nan"),
        ("complete", "--max-tokens", "x"),
        ("bench serve", "--request-rate", "-1"),
        ("bench serve", "--request-rate", "nan"),
        ("bench serve", "--num-prompts", "1e9"),
        ("bench serve", "--vocab-size", "0"),
    ],
)
def test_numbers_that_make_no_sense(command: str, flag: str, value: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), flag, value])
    assert ended.value.code == 2
    assert flag in capsys.readouterr().err.splitlines()[-1]


def test_a_workload_longer_than_the_context(capsys) -> None:
    flags = ["--input-len", "500", "--output-len", "100", "--max-model-len", "512"]
    assert_refused(capsys, ["bench", "latency", *flags], "--input-len 500", "--max-model-len 512")
    assert_refused(capsys, ["bench", "throughput", *flags], "--output-len 100")


def test_figures_that_could_not_be_written(tmp_path: Path, capsys) -> None:
    path = str(tmp_path / "missing" / "figures.json")
    for command in ("latency", "throughput", "serve"):
        assert_refused(capsys, ["bench", command, "--output-json", path], path, "cannot be written")


def test_converting_to_where_nothing_can_be_written(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(capsys, ["convert", "-o", str(tmp_path)], "exists already")
    assert_refused(capsys, ["convert", "-o", str(tmp_path / "file" / "below")], "cannot be made")


def test_addresses_that_are_none(capsys) -> None:
    for url in ("http://127.0.0.1:port/v1", "http://[::1/v1", "ftp://127.0.0.1/v1", "http:///v1"):
        assert_refused(capsys, ["chat", "-q", "hi", "--url", url], url, "is not an address")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert_refused(capsys, ["bench", "serve", "--base-url", f"http://127.0.0.1:{port}"], "No server answers")


class Stranger(BaseHTTPRequestHandler):
    """Answers, but not as an OpenAI server would: HTML, no models, and a stream that breaks off."""

    def do_GET(self) -> None:
        self._answer(b"<html></html>" if self.path.startswith("/html") else b'{"data": []}')

    def do_POST(self) -> None:
        self._answer(b'data: {"choices": []}\n\n')

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_of_another_kind(stranger: str, capsys) -> None:
    assert_refused(capsys, ["chat", "-q", "hi", "--url", f"{stranger}/html"], "is no OpenAI server")
    assert_refused(capsys, ["chat", "-q", "hi", "--url", f"{stranger}/v1"], "lists no models")
    assert main(["chat", "-q", "hi", "--url", f"{stranger}/v1", "--model-name", "m"]) == 2
    assert "ended in the middle" in capsys.readouterr().err
