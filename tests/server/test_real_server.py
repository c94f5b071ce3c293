"""The whole server as its users meet it: `jaxpaged serve` with an engine process, openai-python, curl-like sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from tests.text.samples import hf_tokenizer

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = [{"role": "user", "content": "hello world"}]
pytestmark = pytest.mark.timeout(240)


@dataclass
class Server:
    process: subprocess.Popen
    url: str
    port: int
    lines: list[str] = field(default_factory=list)

    def client(self, *, strict: bool = True) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="key", max_retries=0, _strict_response_validation=strict
        )

    def engine_pid(self) -> int:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")  # a thread starts the later ones
        return int(" ".join(children.read_text() for children in tasks).split()[0])

    def metric(self, name: str) -> float:
        request = urllib.request.Request(f"{self.url}/metrics", headers={"x-api-key": "key"})
        with urllib.request.urlopen(request, timeout=5) as response:
            lines = response.read().decode().splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name + "{")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    hf_tokenizer().save_pretrained(directory)
    (directory / "config.json").write_text("{}")
    return directory


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def serving(model: Path, *flags: str, engine: str = "SlowEngine") -> Iterator[Server]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "jaxpaged",
        "serve",
        str(model),
        "--port",
        str(port),
        "--served-model-name",
        "fake",
    ]
    command += ["--engine-class", f"tests.server.engines:{engine}", "--api-key", "key", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server = Server(process, f"http://127.0.0.1:{port}", port)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            server.lines.append(line)
            if "Ctrl-C stops it" in line or '"message":"serving ' in line:
                break
        else:
            raise AssertionError("".join(server.lines))
        threading.Thread(target=server.lines.extend, args=(process.stdout,), daemon=True).start()
        try:
            yield server
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with serving(model) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


def test_start_up_says_what_was_chosen(server: Server) -> None:
    text = "".join(server.lines)
    assert "  chat      the tokenizer's template\n" in text
    assert "  requests  16,384 may wait, no time limit: more are refused with 503\n" in text
    assert "  access    one API key\n" in text


def test_chat_under_strict_validation(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    chat = ask(model="fake", messages=MESSAGES, max_tokens=5, n=2, seed=1, logprobs=True, top_logprobs=2)
    assert [choice.finish_reason for choice in chat.choices] == ["length", "length"]
    assert chat.usage.completion_tokens == 10
    options = {"include_usage": True}
    chunks = list(ask(model="fake", messages=MESSAGES, max_tokens=20, stream=True, stream_options=options))
    assert chunks[-1].usage.completion_tokens == 20
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("user\nhello")


def test_tool_calls_over_the_network(model: Path) -> None:
    """The engine echoes the prompt, so a prompt that holds a call is answered with one."""
    call = '<tool_call>{"name": "add", "arguments": {"x": "naïve"}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "add"}}]
    flags = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with serving(model, *flags, engine="FastEngine") as server, server.client() as client:
        messages = [{"role": "user", "content": call}]
        body = {"model": "fake", "messages": messages, "tools": tools, "stop": "assistant"}
        message = client.chat.completions.create(**body).choices[0].message
        with client.chat.completions.stream(**body) as stream:
            streamed = stream.get_final_completion().choices[0].message
    for answer in (message, streamed):
        assert answer.content == "user"
        assert answer.tool_calls[0].function.name == "add"
        assert json.loads(answer.tool_calls[0].function.arguments) == {"x": "naïve"}


def test_the_accumulating_stream_helper(server: Server) -> None:
    with (
        server.client(strict=False) as client,
        client.chat.completions.stream(
            model="fake", messages=MESSAGES, max_tokens=50, stop=" world", logprobs=True
        ) as stream,
    ):
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content == "user\nhello"
    assert final.choices[0].logprobs.content


def test_completions_and_models_under_strict_validation(server: Server, client: openai.OpenAI) -> None:
    completion = client.completions.create(model="fake", prompt="hello world", max_tokens=4, logprobs=1)
    assert completion.choices[0].text == "hello worldhello world"
    with server.client(strict=False) as lax:  # OpenAI's own chunks, with their null finish_reason, are not strict
        stream = lax.completions.create(model="fake", prompt="hello", max_tokens=4, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == "hello" * 4
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").id == "fake"


def test_errors_have_openais_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature") as caught:
        client.completions.create(model="fake", prompt="hello", temperature=3)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-5", prompt="hello")
    with pytest.raises(openai.AuthenticationError, match="API key"):
        client.with_options(api_key="wrong").models.list()


def test_a_closed_socket_frees_the_rows(server: Server) -> None:
    for stream in (True, False):
        connection = socket.create_connection(("127.0.0.1", server.port))
        body = json.dumps({"prompt": "hello", "max_tokens": 4000, "stream": stream}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_for(lambda: server.metric("vllm:num_requests_running") == 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, no polite end
        connection.close()
        wait_for(lambda: server.metric("vllm:num_requests_running") == 0)
        assert server.metric("vllm:num_requests_waiting") == 0


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def long_stream(server: Server, tokens: int) -> Iterator[openai.Stream]:
    """A streamed completion whose first chunk has come."""
    with server.client(strict=False) as client:
        stream = client.completions.create(model="fake", prompt="hello", max_tokens=tokens, stream=True)
        with stream:
            next(stream)
            yield stream


def test_a_killed_engine_ends_streams_with_an_error_and_turns_health_red(model: Path) -> None:
    with serving(model, "--engine-restarts", "0") as server:
        with long_stream(server, 2000) as stream:
            os.kill(server.engine_pid(), signal.SIGKILL)
            with pytest.raises(openai.APIError, match="engine is not running"):
                list(stream)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.url}/health", timeout=5)
        assert caught.value.code == 503
        caught.value.close()
        with server.client() as client, pytest.raises(openai.InternalServerError):
            client.completions.create(model="fake", prompt="hello")


def test_sigterm_ends_it_within_seconds_even_with_streams_open(model: Path) -> None:
    with serving(model) as server, long_stream(server, 4000) as stream:
        engine = server.engine_pid()
        server.process.terminate()
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
        assert server.process.wait(20) == 0
        assert not Path(f"/proc/{engine}").exists()


def test_ctrl_c_lets_streams_finish_within_the_shutdown_timeout(model: Path) -> None:
    with serving(model, "--shutdown-timeout", "10") as server, long_stream(server, 60) as stream:
        server.process.send_signal(signal.SIGINT)
        assert list(stream)[-1].choices[0].finish_reason == "length"
        assert server.process.wait(20) == 0
