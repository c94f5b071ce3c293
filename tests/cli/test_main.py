"""The command line as a user meets it: quick help, one sentence for a mistake, exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jaxpaged.cli.main import main
from server.flags import parse_flags

ROOT = Path(__file__).resolve().parents[2]


def jaxpaged(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jaxpaged", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, env={**os.environ, **environ})


def assert_one_sentence(run: subprocess.CompletedProcess[str], *words: str) -> None:
    assert run.returncode == 2, run.stderr
    lines = [line for line in run.stderr.splitlines() if "PyTorch was not found" not in line]
    assert lines[-1].startswith("jaxpaged")
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in lines[-1]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "chat",
        "complete",
        "bench",
        "bench throughput",
        "bench latency",
        "bench serve",
        "convert",
        "models",
        "env",
        "doctor",
    ],
)
def test_every_command_has_help(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: jaxpaged")


@pytest.mark.parametrize("command", ["serve", "run-batch"])
def test_commands_of_the_server_have_help(command: str) -> None:
    run = jaxpaged(command, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(f"usage: jaxpaged {command} [options]\n\n{command}: ")


@pytest.mark.parametrize("module", ["jaxpaged", "server", "server.batches"])
def test_help_loads_nothing_heavy(module: str) -> None:
    program = (
        "import runpy, sys; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\nexcept SystemExit: pass\n"
        "sys.exit(sorted({'jax', 'numpy', 'transformers', 'fastapi', 'zmq'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["complete", "--temprature", "5"], ["--temprature", "--temperature"]),
        (["bench", "latency", "--dtype", "int3"], ["--dtype", "int3"]),
        (["srve"], ["no command 'srve'", "did you mean serve?"]),
        (["bench", "latncy"], ["did you mean latency?"]),
        (["bench", "serve", "--request-rate", "-1"], ["--request-rate", "below 0"]),
        (["xyzzy"], ["choose from serve, chat"]),
        ([], ["COMMAND"]),
    ],
)
def test_wrong_arguments(arguments: list[str], words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert_one_message(ended, capsys, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-modl-len", "5"], ["--max-modl-len", "--max-model-len"]),
        (["--max-model-len", "five"], ["--max-model-len", "five"]),
        (["--dtype", "int3"], ["--dtype", "int3"]),
    ],
)
def test_wrong_arguments_of_the_server(arguments: list[str], words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(arguments)
    assert_one_message(ended, capsys, words)


def assert_one_message(ended: pytest.ExceptionInfo[SystemExit], capsys, words: list[str]) -> None:
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    for word in words:
        assert word in message


@pytest.mark.parametrize("command", [["serve"], ["run-batch", "-i", "-", "-o", "-"]])
def test_contradictions_are_one_sentence(command: list[str]) -> None:
    run = jaxpaged(*command, "--max-num-seqs", "10", "--max-num-batched-tokens", "5")
    assert_one_sentence(run, "jaxpaged: max_num_batched_tokens (5) is smaller than max_num_seqs (10)")


def test_a_wrong_value_is_one_sentence(capsys) -> None:
    assert main(["bench", "latency", "--block-size", "33"]) == 2
    assert "power of two" in capsys.readouterr().err


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    assert_one_sentence(jaxpaged("serve", str(tmp_path), "--port", "0"), "config.json")
    assert_one_sentence(jaxpaged("serve", str(tmp_path / "missing"), "--port", "0"), "missing")


def test_a_busy_port_is_known_before_the_model_loads(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert_one_sentence(jaxpaged("serve", str(tmp_path), "--port", str(port)), f"Port {port}", "--port")


def test_the_environment_is_read(tmp_path: Path) -> None:
    run = jaxpaged("serve", str(tmp_path), JAXPAGED_BLOCK_SIZE="33")
    assert_one_sentence(run, "block_size is 33")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    run = jaxpaged("serve", str(tmp_path), "--port", "0", "--debug")
    assert (run.returncode, "Traceback" in run.stderr) == (2, True)


def test_talking_to_nobody(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert main(["chat", "-q", "hi", "--url", f"http://127.0.0.1:{port}/v1"]) == 2
    assert "jaxpaged serve" in capsys.readouterr().err
    assert main(["complete", "-q", "hi", "--url", "not a url"]) == 2


class FakeServer(BaseHTTPRequestHandler):
    """A server with one model and two answers."""

    def do_GET(self) -> None:
        self._answer(b'{"data": [{"id": "m"}]}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        choice = '{"delta": {"content": "%s"}}' if "chat" in self.path else '{"text": "%s"}'
        pieces = ["Hel", "lo"] if "fail" not in body else []
        events = "".join('data: {"choices": [%s]}\n\n' % (choice % piece) for piece in pieces)
        end = "data: [DONE]\n\n" if pieces else 'data: {"error": {"message": "it broke"}}\n\n'
        self._answer((": keep-alive\n\n" + events + end).encode())

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url():
    server = HTTPServer(("127.0.0.1", 0), FakeServer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_chat_and_complete_print_the_answer(url: str, capsys, monkeypatch) -> None:
    for command in ("chat", "complete"):
        assert main([command, "--url", url, "-q", "hi"]) == 0
        assert capsys.readouterr().out == "Hello\n"
    lines = iter(["hi", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert main(["chat", "--url", url]) == 0
    assert "Hello\n" in capsys.readouterr().out


def test_an_error_in_the_middle_is_said(url: str, capsys) -> None:
    assert main(["chat", "--url", url, "-q", "fail"]) == 2
    assert capsys.readouterr().err == "jaxpaged: The server said: it broke\n"
