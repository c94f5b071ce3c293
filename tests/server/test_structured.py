"""response_format, structured_outputs and guided_*: which grammar they become, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from jaxpaged import SamplingParams, StructuredOutputsParams
from jaxpaged.engine.messages import EngineOutput, EngineRequest
from tests.fake_engine import FakeEngine
from tests.server.harness import async_llm, client, events
from tests.structured.bad import BAD

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TAG = {"type": "structural_tag", "structures": [{"begin": "<f>", "schema": SCHEMA, "end": ""}], "triggers": ["<f"]}
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}


def run(test: Any) -> Any:
    return asyncio.run(test)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": None}, None),
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            {"json": SCHEMA},
        ),
        ({"response_format": TAG}, {"structural_tag": TAG}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, {"choice": ["a", "b"]}),
        ({"structured_outputs": {"regex": "a+", "whitespace_pattern": None}}, {"regex": "a+"}),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, {"grammar": 'start: "a"'}),
        (
            {"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}},
            {"json": SCHEMA, "disable_any_whitespace": True},
        ),
        ({"structured_outputs": {"json_object": True}}, {"json_object": True}),
        ({"structured_outputs": {"structural_tag": TAG}}, {"structural_tag": TAG}),
        ({"guided_json": SCHEMA, "guided_decoding_backend": "auto"}, {"json": SCHEMA}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a"]}, {"choice": ["a"]}),
        ({"guided_grammar": 'start: "a"'}, {"grammar": 'start: "a"'}),
        ({"guided_json": SCHEMA, "guided_whitespace_pattern": " "}, {"json": SCHEMA, "whitespace_pattern": " "}),
        ({"guided_json_object": False}, None),
    ],
)
def test_it_reaches_the_engine(sent: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    async def scenario() -> None:
        engine = FakeEngine()
        async with client(engine) as http:
            for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "hello"})):
                assert (await http.post(path, json={**body, **sent})).status_code == 200
        expected = None if wanted is None else StructuredOutputsParams(**wanted)
        assert [request.params.structured_outputs for request in engine.requests] == [expected, expected]

    run(scenario())


def test_bad_input_is_a_400_while_others_are_served() -> None:
    unsayable = ("schema far too deep", "schema NaN", "regex half a surrogate")  # no JSON body can say so
    wrong: dict[str, str] = {}

    async def scenario() -> None:
        async with client() as http:
            for name in BAD.keys() - unsayable:
                body = {**CHAT, "structured_outputs": BAD[name]}
                refused, canary = await asyncio.gather(
                    http.post("/v1/chat/completions", json=body), http.post("/v1/chat/completions", json=CHAT)
                )
                assert canary.status_code == 200
                error = refused.json().get("error", {})
                found = (refused.status_code, error.get("type"), error.get("param"))
                words = error.get("message", "")
                if found != (400, "invalid_request_error", "structured_outputs") or ".rs" in words or "panic" in words:
                    wrong[name] = refused.text

    run(scenario())
    assert wrong == {}


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"response_format": {}}, "response_format"),
        ({"response_format": []}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}}, "response_format"),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"structured_outputs": "a"}, "structured_outputs"),
        ({"structured_outputs": {"regexp": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"_param": "a", "regex": "a"}}, "structured_outputs"),
        ({"guided_regex": "["}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_json": 3}, "guided_json"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}, "use_beam_search": True, "n": 2}, "response_format"),
        ({"guided_regex": "a", "use_beam_search": True, "n": 2}, "guided_regex"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_mistakes_name_the_field_that_was_sent(sent: dict[str, Any], param: str, stream: bool) -> None:
    async def scenario() -> None:
        async with client() as http:
            answer = await http.post("/v1/chat/completions", json={**CHAT, "stream": stream, **sent})
            assert answer.status_code == 400
            if not (stream and "use_beam_search" in sent):
                assert answer.json()["error"]["param"] == param

    run(scenario())


class LateRefusal(FakeEngine):
    """Finds out at its first step that structured requests cannot be served."""

    def step(self) -> list[EngineOutput]:
        outputs = super().step()
        structured = {request.request_id for request in self.requests if request.params.structured_outputs is not None}
        for output in outputs:
            if output.request_id in structured:
                output.new_token_ids, output.finish_reason = [], "error"
                output.error, output.refused = "the grammar is too hard.", "structured_outputs"
        return outputs


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_a_grammar_that_the_engine_refuses_is_a_400_for_its_request_alone(stream: bool, n: int) -> None:
    async def scenario() -> None:
        engine = LateRefusal()
        llm = async_llm(engine)
        async with client(llm=llm) as http:
            body = {**CHAT, "structured_outputs": {"regex": "a"}, "stream": stream, "n": n, "temperature": 1}
            refused, fine = await asyncio.gather(
                http.post("/v1/chat/completions", json=body),
                http.post("/v1/chat/completions", json={**CHAT, "stream": True}),
            )
            assert refused.status_code == 400
            assert refused.json()["error"]["message"] == "the grammar is too hard."
            assert fine.status_code == 200
            assert events(fine.text)
            assert llm.num_in_flight() == 0

    run(scenario())


def test_the_event_loop_goes_on_while_grammars_are_checked() -> None:
    """Twenty large grammars at once: a request that comes after them is not behind them."""

    async def scenario() -> None:
        def body(index: int) -> dict[str, Any]:
            return {**CHAT, "structured_outputs": {"choice": [f"item {index} {k}" for k in range(3000)]}}

        async with client() as http:
            many = [asyncio.create_task(http.post("/v1/chat/completions", json=body(k))) for k in range(20)]
            await asyncio.sleep(0)
            assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
            assert not all(task.done() for task in many)
            assert {answer.status_code for answer in await asyncio.gather(*many)} == {200}

    run(scenario())


def test_requests_keep_their_field_across_the_wire() -> None:
    params = StructuredOutputsParams.of_fields({"regex": "a"}, "guided_regex")
    request = EngineRequest(1, [1], SamplingParams(structured_outputs=params), 0.0)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=EngineRequest)
    assert sent.params.structured_outputs is not None
    assert sent.params.structured_outputs._param == "guided_regex"
