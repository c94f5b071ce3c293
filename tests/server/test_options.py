"""What an operator sets for every request: names, template variables, browsers, middleware, the log."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from jaxpaged.config import EngineConfig, ModelConfig
from jaxpaged.errors import ConfigError
from server.flags import ServerOptions
from server.http.logs import logging_all_but
from server.http.middleware import load_middleware
from server.http.record import RequestRecord
from tests.fake_engine import FakeEngine
from tests.server.harness import AsyncLLM, LocalClient, client, front_end

pytestmark = pytest.mark.anyio
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def named(*names: str) -> AsyncLLM:
    config = EngineConfig(ModelConfig("a/b", served_model_name=names))
    return AsyncLLM.from_client(LocalClient(FakeEngine()), front_end(), config)


async def test_a_model_has_every_name_that_it_was_given() -> None:
    async with client(llm=named("first", "org/second")) as http:
        listed = (await http.get("/v1/models")).json()["data"]
        assert [(card["id"], card["root"]) for card in listed] == [("first", "a/b"), ("org/second", "a/b")]
        assert (await http.get("/v1/models/org/second")).json()["id"] == "org/second"
        for name in ("first", "org/second", "", None):
            answer = await http.post("/v1/chat/completions", json={**CHAT, "model": name})
            assert (answer.status_code, answer.json()["model"]) == (200, "first"), name
        refused = await http.post("/v1/completions", json={"model": "a/b", "prompt": "x"})
        assert refused.status_code == 404
        assert 'model_name="first"' in (await http.get("/metrics")).text


TEMPLATE = "{{ messages[0]['content'] }}{% if shout %}!!!{% endif %}"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 1}),
        ("/v1/messages", {"model": "fake", "max_tokens": 1, "messages": CHAT["messages"]}),
        ("/tokenize", {"messages": CHAT["messages"]}),
        ("/v1/messages/count_tokens", {"model": "fake", "messages": CHAT["messages"]}),
    ],
)
async def test_template_variables_of_the_server_stand_behind_the_requests(path: str, body: dict[str, Any]) -> None:
    options = ServerOptions(default_template_kwargs={"shout": True})
    counts = []
    for server, kwargs in ((None, None), (options, None), (options, {"shout": False})):
        llm = named("fake")
        llm.get_tokenizer().chat_template = TEMPLATE
        async with client(llm=llm, options=server) as http:
            asked = body if kwargs is None else {**body, "chat_template_kwargs": kwargs}
            answer = (await http.post(path, json=asked)).json()
        usage = answer.get("usage", answer)
        counts.append(next(usage[name] for name in ("prompt_tokens", "input_tokens", "count") if name in usage))
    assert counts[0] == counts[2] < counts[1]


@pytest.mark.parametrize(("form", "same"), [("auto", True), ("string", True), ("openai", False)])
async def test_templates_get_contents_in_the_form_that_was_chosen(form, same: bool) -> None:
    counts = []
    for options in (None, ServerOptions(content_format=form)):
        llm = named("fake")
        llm.get_tokenizer().chat_template = "{{ messages[0]['content'] }}"
        async with client(llm=llm, options=options) as http:
            counts.append((await http.post("/tokenize", json={"messages": CHAT["messages"]})).json()["count"])
    assert (counts[0] == counts[1]) is same


async def test_tokens_may_always_be_written_as_ids() -> None:
    async with client(options=ServerOptions(tokens_as_ids=True)) as http:
        chat = (await http.post("/v1/chat/completions", json={**CHAT, "logprobs": True})).json()
        text = (await http.post("/v1/completions", json={"prompt": "x", "max_tokens": 1, "logprobs": 1})).json()
    assert chat["choices"][0]["logprobs"]["content"][0]["token"].startswith("token_id:")
    assert text["choices"][0]["logprobs"]["tokens"][0].startswith("token_id:")


async def test_browsers_may_do_what_is_allowed() -> None:
    options = ServerOptions(
        allowed_origins=("https://a",), allowed_methods=("GET",), allowed_headers=("x-a",), allow_credentials=True
    )
    asks = {"Origin": "https://a", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-a"}
    async with client(options=options) as http:
        allowed = await http.options("/v1/models", headers=asks)
        assert (allowed.status_code, allowed.headers["access-control-allow-credentials"]) == (200, "true")
        for header, value in (("Request-Method", "POST"), ("Request-Headers", "x-b")):
            refused = await http.options("/v1/models", headers={**asks, f"Access-Control-{header}": value})
            assert refused.status_code == 400


class Stamp:
    """ASGI middleware of an operator."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", b"1")]
            await send(message)

        await self.app(scope, receive, stamped)


async def closed(request: Request, call_next: Any) -> Response:
    return Response(status_code=418) if request.url.path == "/health" else await call_next(request)


async def test_middleware_of_both_kinds_is_around_everything() -> None:
    loaded = tuple(load_middleware(f"{__name__}.{name}") for name in ("closed", "Stamp"))
    async with client(options=ServerOptions(middleware=loaded)) as http:
        assert (await http.get("/health")).status_code == 418
        answer = await http.get("/v1/models")
        assert (answer.status_code, answer.headers["x-stamp"]) == (200, "1")


@pytest.mark.parametrize("path", ["nowhere.Thing", f"{__name__}.missing", f"{__name__}.CHAT", "plain", ""])
def test_what_is_no_middleware_is_one_sentence(path: str) -> None:
    with pytest.raises(ConfigError, match="--middleware") as caught:
        load_middleware(path)
    assert "\n" not in str(caught.value)


def test_requests_of_some_paths_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="jaxpaged.access")
    sink = logging_all_but(frozenset(("/metrics",)))
    for path in ("/metrics", "/v1/models"):
        sink(RequestRecord("id", "GET", path, "m", status=200))
    assert [record.getMessage().split()[1] for record in caplog.records] == ["/v1/models"]
