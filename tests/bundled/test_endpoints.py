"""The newer endpoints with the bundled model and its real engine, over a socket; and `jaxpaged run-batch`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.bundled.sizes import FLAGS

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "12 + 345"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    files = tmp_path_factory.mktemp("files")
    command = [sys.executable, "-m", "jaxpaged", "serve", *FLAGS, "--port", str(port), "--files-dir", str(files)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process.stdout:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C stops it" in line:
                break
        else:
            raise AssertionError("".join(lines))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def ai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture(scope="module")
def answer(ai: openai.OpenAI) -> str:
    """What the model says to QUESTION, by the chat protocol."""
    messages = [{"role": "user", "content": QUESTION}]
    chat = ai.chat.completions.create(model="jaxpaged-demo", messages=messages, temperature=0)
    return chat.choices[0].message.content


def test_responses(ai: openai.OpenAI, answer: str) -> None:
    first = ai.responses.create(model="jaxpaged-demo", input=QUESTION, temperature=0)
    assert (first.status, first.output_text) == ("completed", answer)
    with ai.responses.stream(model="jaxpaged-demo", input=QUESTION, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == stream.get_final_response().output_text == answer
    second = ai.responses.create(
        model="jaxpaged-demo", input="hello", temperature=0, previous_response_id=first.id, max_output_tokens=5
    )
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert ai.responses.retrieve(first.id).output_text == answer


def test_messages(url: str, answer: str) -> None:
    asked = {
        "model": "jaxpaged-demo",
        "max_tokens": 96,
        "messages": [{"role": "user", "content": QUESTION}],
        "extra_body": {"temperature": 0},
    }
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, _strict_response_validation=True) as claude:
        message = claude.messages.create(**asked)
        with claude.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == answer
        count = claude.messages.count_tokens(model="jaxpaged-demo", messages=asked["messages"])
    assert (message.content[0].text, message.stop_reason) == (answer, "end_turn")
    assert count.input_tokens == (
        message.usage.input_tokens + message.usage.cache_read_input_tokens + message.usage.cache_creation_input_tokens
    )


def request(custom_id: str) -> str:
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"


def test_files_and_batches(ai: openai.OpenAI, answer: str) -> None:
    content = "".join(request(str(number)) for number in range(10)) + "{\n"
    file = ai.files.create(file=("in.jsonl", content.encode()), purpose="batch")
    batch = ai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    began = time.monotonic()
    while batch.status != "completed":
        assert time.monotonic() - began < 60, batch
        time.sleep(0.05)
        batch = ai.batches.retrieve(batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (10, 1)
    rows = [json.loads(row) for row in ai.files.content(batch.output_file_id).text.splitlines()]
    assert {row["response"]["body"]["choices"][0]["message"]["content"] for row in rows} == {answer}


def test_embeddings_are_refused_by_name(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="needs an embedding model"):
        ai.embeddings.create(model="jaxpaged-demo", input="hello")


def test_run_batch_needs_no_server(tmp_path: Path, answer: str) -> None:
    (tmp_path / "in.jsonl").write_text("".join(request(str(number)) for number in range(10)) + "{\n")
    names = ["-i", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    command = [sys.executable, "-m", "jaxpaged", "run-batch", *FLAGS, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "10 requests answered, 1 failed" in done.stderr
    rows = [json.loads(row) for row in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [*map(str, range(10)), None]
    assert {row["response"]["body"]["choices"][0]["message"]["content"] for row in rows[:10]} == {answer}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
