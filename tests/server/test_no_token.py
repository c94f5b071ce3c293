"""Requests whose own fields leave no token: 400 by name where it is known before, else the answer says so."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client, events
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
SAID = "allowed_token_ids and bad_words together leave no token to generate"
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES = {
    "/v1/completions": {"prompt": ["hello", "stop here"], "max_tokens": 6},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 6},
    "/v1/responses": {"input": MESSAGES, "max_output_tokens": 6},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 6},
}


class Starves(FakeEngine):
    """The first sequence has nothing to say after its second token, as the real engine tells it."""

    def step(self) -> list:
        outputs = super().step()
        for output in outputs:
            row = self._rows.get(output.request_id)
            if row is not None and row.request is self.requests[0] and row.sent == 2:
                output.finish_reason, output.stop_reason = "error", SAID
                del self._rows[output.request_id]
        return outputs


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
async def test_known_before_it_runs(path: str, stream: bool) -> None:
    word = hf_tokenizer().encode(" world")
    assert len(word) == 1
    fields = {"allowed_token_ids": word, "bad_words": ["world"], "stream": stream}
    engine = FakeEngine()
    async with client(engine) as http:
        response = await http.post(path, json={**BODIES[path], **fields})
    assert response.status_code == 400
    assert SAID in response.json()["error"]["message"]
    assert not engine.requests


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_known_later_ends_one_sequence_only(path: str, n: int) -> None:
    body = {**BODIES[path], "n": n}
    async with client(Starves()) as http:
        response = await http.post(path, json=body)
    async with client(Starves()) as http:
        chunks = events((await http.post(path, json={**body, "stream": True})).text)
    assert response.status_code == 200
    choices = response.json()["choices"]
    ends = [(choice["finish_reason"], choice["stop_reason"]) for choice in choices]
    assert ends == [("error", SAID)] + [("length", None)] * (len(choices) - 1)
    streamed = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert sorted((one["index"], one["finish_reason"], one["stop_reason"]) for one in streamed) == [
        (index, *end) for index, end in enumerate(ends)
    ]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_known_later_is_an_error_of_the_request_where_there_is_one_answer(path: str) -> None:
    async with client(Starves()) as http:
        whole = await http.post(path, json=BODIES[path])
    async with client(Starves()) as http:
        streamed = await http.post(path, json={**BODIES[path], "stream": True})
    assert (whole.status_code, streamed.status_code) == (400, 200)
    assert SAID in whole.json()["error"]["message"]
    assert SAID in streamed.text
    assert "invalid_request_error" in streamed.text
    assert "response.completed" not in streamed.text
    assert "message_stop" not in streamed.text
