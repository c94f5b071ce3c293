"""Engines in children and behind HTTP: whatever they do, it becomes figures or one sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.engines import HF, LLAMA, VLLM, environment, find_engines, preloaded
from benchmarks.errors import EngineFailed
from benchmarks.served import BOUND, Running, Served, free_port
from benchmarks.streams import measure
from benchmarks.worker import Worker
from benchmarks.workloads import Job, behind_a_prefix, mixed

COMMAND = [sys.executable, "-m", "tests.benchmarks.stand_in"]


def child(tmp_path: Path, greeting: str = "hello") -> Worker:
    return Worker(COMMAND, environment("jaxpaged", sys.executable), {"greeting": greeting}, tmp_path / "log")


def test_a_child_does_tasks_and_its_failures_are_sentences(tmp_path: Path) -> None:
    worker = child(tmp_path)
    try:
        assert worker.facts == {"load_s": 1.5}
        assert worker.start_s > 0
        assert worker.do("double", number=4) == {"number": 8}
        with pytest.raises(EngineFailed, match="ValueError: no such thing"):
            worker.do("refuse")
        assert worker.do("double", number=5) == {"number": 10}
        assert "noise" in worker.log.read_text()
        with pytest.raises(EngineFailed, match="it has ended; its last line: the last words"):
            worker.do("die")
        with pytest.raises(EngineFailed, match="it has ended"):
            worker.do("double", number=6)
    finally:
        worker.close()
    assert worker.process.returncode == 3


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="KeyError: 'a greeting'"):
        child(tmp_path, "")
    with pytest.raises(EngineFailed, match=r"the server has ended; its last line: .*no_such_module"):
        Served([sys.executable, "-m", "no_such_module", BOUND], environment("jaxpaged", sys.executable), tmp_path / "l")


SERVER = """
import http.server, json, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(json.dumps({"data": [{"id": "a model"}]}).encode())
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        event = {"choices": [{"text": "a"}]}
        count = asked["max_tokens"] - (asked["prompt"][0] == 13)
        events = [event] * count + [{"choices": [], "usage": {"completion_tokens": count}}]
        self.say(b"".join(b"data: " + json.dumps(event).encode() + b"\\n\\n" for event in events))
    def say(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    server = Served([sys.executable, "-c", SERVER, BOUND], environment("jaxpaged", sys.executable), log)
    yield server
    server.close()
    assert server.process.returncode is not None


def test_streams_are_counted_and_a_missing_token_is_a_failure(served: Served) -> None:
    jobs = mixed(5, 0, 1000, 0.1)
    figures = measure(served.url, served.model, jobs, 2)
    assert figures["tok_per_s"] == pytest.approx(sum(job.answer for job in jobs) / figures["seconds"])
    assert 0 < figures["ttft_ms_p50"] <= figures["ttft_ms_p99"]
    with pytest.raises(EngineFailed, match="4 tokens were asked for, 3 came in 3 events with status 200"):
        measure(served.url, served.model, [Job([13], 4)], 1)
    assert served.memory_mb() > 1


def test_a_server_that_runs_already_is_asked_and_left(served: Served) -> None:
    running = Running(served.url + "/")
    running.close()
    assert (running.url, running.model) == (served.url, "a model")
    with pytest.raises(EngineFailed, match="no server answers at"):
        Running(f"http://127.0.0.1:{free_port()}")


def test_peers_are_found_by_what_their_python_has(tmp_path: Path) -> None:
    found = find_engines({HF: sys.executable, LLAMA: str(tmp_path / "none"), VLLM: None}, "1.0")
    assert [engine.name for engine in found.engines] == ["jaxpaged"]
    assert found.missing[HF].startswith(
        f"transformers is left out: {sys.executable}: it has no module torch; to install"
    )
    assert "No such file" in found.missing[LLAMA]
    assert "--vllm-python PYTHON" in found.missing[VLLM]
    assert all("\n" not in sentence for sentence in found.missing.values())


def test_vllms_libraries_are_those_of_its_environment(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "libiomp5.so"
    library.parent.mkdir()
    library.touch()
    assert preloaded(tmp_path / "bin" / "python")[-1] == str(library)
    assert str(library) in environment(VLLM, str(tmp_path / "bin" / "python"))["LD_PRELOAD"]


def test_workloads_have_the_same_lengths_and_other_tokens_in_each_round() -> None:
    first, second = mixed(64, 0, 16_000), mixed(64, 1, 16_000)
    assert [(len(job.prompt), job.answer) for job in first] == [(len(job.prompt), job.answer) for job in second]
    assert all(32 <= len(job.prompt) <= 256 and 16 <= job.answer <= 128 for job in first)
    assert all(a.prompt[:8] != b.prompt[:8] for a, b in zip(first, second, strict=True))  # no prefix is cached
    head, jobs = behind_a_prefix(3, 40, 2, 0, 1000)
    assert all(job.prompt[:40] == head and len(job.prompt) == 60 for job in jobs)
    assert len({tuple(job.prompt) for job in jobs}) == 3
