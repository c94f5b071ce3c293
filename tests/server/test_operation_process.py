"""The server as a process under its operator's hands: drains, deaths, overload, logs."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.engine_process.test_process import alive
from tests.server.test_real_server import Server, long_stream, model, serving, wait_for

pytestmark = pytest.mark.timeout(240)
__all__ = ["model"]  # the fixture


def status(server: Server, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    """The status of one answer; 0 when there is none."""
    sent = {"x-api-key": "key", "content-type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, body, sent), timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def test_a_drain_turns_readiness_off_refuses_and_lets_streams_finish(model: Path) -> None:
    with serving(model, "--shutdown-timeout", "20") as server:
        assert status(server, "/ready") == status(server, "/ready", headers={"x-api-key": "none"}) == 200
        with long_stream(server, 100) as stream:
            engine = server.engine_pid()
            server.process.terminate()
            wait_for(lambda: status(server, "/ready") == 503, 2)
            assert status(server, "/health") == 200
            assert status(server, "/v1/completions", body=b'{"prompt": "hello"}') == 503
            assert list(stream)[-1].choices[0].finish_reason == "length"
        assert server.process.wait(20) == 0
        assert not alive(engine)
        assert status(server, "/ready") == 0


def test_a_second_sigterm_ends_the_drain(model: Path) -> None:
    with serving(model, "--shutdown-timeout", "60") as server, long_stream(server, 4000) as stream:
        server.process.terminate()
        wait_for(lambda: status(server, "/ready") == 503)
        server.process.terminate()
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)
        assert server.process.wait(20) == 0


def test_the_engine_comes_back_and_only_its_streams_are_lost(model: Path) -> None:
    with serving(model) as server:
        for _ in range(2):
            with long_stream(server, 2000) as stream:
                killed = server.engine_pid()
                os.kill(killed, signal.SIGKILL)
                with pytest.raises(openai.APIError, match="started again"):
                    list(stream)
            assert status(server, "/health") == status(server, "/ready") == 503
            assert (
                status(server, "/v1/completions", body=b'{"prompt": "hello"}') == 503
            )  # it does not wait for the engine
            wait_for(lambda: status(server, "/ready") == 200, 40)
            assert server.engine_pid() != killed
            assert status(server, "/v1/completions", body=b'{"prompt": "hello", "max_tokens": 3}') == 200
        assert server.metric("jaxpaged:engine_restarts_total") == 2
        assert_a_killed_front_end_takes_the_engine_along(server)


def test_a_stopped_engine_is_replaced(model: Path) -> None:
    with serving(model, "--engine-step-timeout", "0.5") as server, long_stream(server, 2000) as stream:
        stopped = server.engine_pid()
        os.kill(stopped, signal.SIGSTOP)
        wait_for(lambda: status(server, "/health") == 503, 20)
        with pytest.raises(openai.APIError, match="started again"):
            list(stream)
        wait_for(lambda: status(server, "/ready") == 200, 40)
        assert not alive(stopped)


def assert_a_killed_front_end_takes_the_engine_along(server: Server) -> None:
    engine = server.engine_pid()
    server.process.kill()
    wait_for(lambda: not alive(engine), 20)
    with socket.create_server(("127.0.0.1", server.port)) as free:
        assert free.getsockname()[1] == server.port


def test_overload_is_answered_at_once_and_before_the_body(model: Path) -> None:
    """4 run, 4 wait, 60 more are refused while their bodies have not even been sent."""
    with serving(model, "--max-num-seqs", "4", "--max-num-queued-reqs", "4") as server:
        body = json.dumps({"prompt": "hello", "max_tokens": 2000}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Api-Key: key\r\nContent-Type: application/json\r\n"
        busy = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
        for one in busy:
            one.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        wait_for(lambda: server.metric("vllm:num_requests_waiting") == 4)
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", server.port)) as one:
                one.sendall(head + b"Content-Length: 30000000\r\n\r\n")
                answer = one.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer.lower()
        assert server.metric("vllm:num_requests_waiting") == 4  # no answer waited until one of these had run
        for one in busy:
            one.close()
        wait_for(lambda: server.metric("vllm:num_requests_running") == 0)
        assert server.metric("vllm:num_requests_waiting") == 0


@pytest.fixture(scope="module")
def json_server(model: Path) -> Iterator[Server]:
    with serving(model, "--log-format", "json", "--request-timeout", "1") as server:
        yield server


def logged(server: Server, request_id: str) -> dict:
    """The access line of one request."""
    found: list[dict] = []

    def look() -> bool:
        lines = [json.loads(line) for line in list(server.lines) if line.startswith("{")]
        found.extend(line for line in lines if line.get("request_id") == request_id and "status" in line)
        return bool(found)

    wait_for(look)
    return found[0]


def test_json_logs_say_what_each_request_was(json_server: Server) -> None:
    server = json_server
    body = b'{"prompt": "hello world", "max_tokens": 5, "n": 2}'
    assert status(server, "/v1/completions", body=body, headers={"X-Request-Id": "mine-1"}) == 200
    line = logged(server, "mine-1")
    assert (line["logger"], line["level"], line["model"]) == ("jaxpaged.access", "info", "fake")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/completions", 200)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (2, 10)
    assert 0 < line["time_to_first_token"] < line["seconds"] < 1
    assert line["finish_reasons"] == ["length", "length"]
    assert status(server, "/v1/completions", body=b"{", headers={"X-Request-Id": "mine-2"}) == 400
    assert logged(server, "mine-2")["status"] == 400
    assert status(server, "/a%0Ab", headers={"X-Request-Id": "mine-3"}) == 404
    assert logged(server, "mine-3")["path"] == "/a%0Ab"


def test_a_late_request_is_504_and_in_the_log(json_server: Server) -> None:
    body = b'{"prompt": "hello world", "max_tokens": 2000}'
    assert status(json_server, "/v1/completions", body=body, headers={"X-Request-Id": "late"}) == 504
    line = logged(json_server, "late")
    assert (line["status"], line["finish_reasons"]) == (504, ["abort"])
    assert line["completion_tokens"] > 10
    wait_for(lambda: json_server.metric("vllm:num_requests_running") == 0)


def test_every_line_of_a_json_log_is_json(json_server: Server) -> None:
    threads = [threading.Thread(target=status, args=(json_server, "/version")) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = list(json_server.lines)
    assert len(lines) > 3
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(json.loads(line)), line
