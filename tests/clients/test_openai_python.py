"""openai-python, 2.x and 3.x: every answer goes through its strict validation, streamed and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.clients.capabilities import needs
from tests.clients.conftest import KEY, MODEL
from tests.clients.openai_requests import ANSWER, CHATS, COMPLETIONS, GREEDY, QUESTION, TOOL


def new_client(base_url: str, *, strict: bool = True, **arguments: Any) -> openai.OpenAI:
    return openai.OpenAI(
        **{"base_url": base_url, "api_key": KEY, "max_retries": 0, **arguments}, _strict_response_validation=strict
    )


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with new_client(base_url) as client:
        yield client


@pytest.fixture
def lax(base_url: str) -> Iterator[openai.OpenAI]:
    """For the places where OpenAI's own answers fail the strict validation."""
    with new_client(base_url, strict=False) as client:
        yield client


@pytest.mark.parametrize("fields", CHATS, ids=str)
def test_chats(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    """Streamed chunks add up to what comes at once, for every choice: text, calls, log probabilities, the end."""
    asked = {**GREEDY, "messages": QUESTION, "max_tokens": 40, **fields}
    if "max_completion_tokens" in fields:
        del asked["max_tokens"]
    whole = client.chat.completions.create(**asked)
    assert whole.model == MODEL
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert len(whole.choices) == fields.get("n", 1)
    for options in (None, {"include_usage": True}):
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
        assert all((chunk.usage is None) for chunk in chunks[:-1])
        assert (chunks[-1].usage is not None) == (options is not None)
        if options is not None:
            assert chunks[-1].choices == []
            assert chunks[-1].usage == whole.usage.model_copy(
                update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details}
            )
        for choice in whole.choices:
            parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
            assert parts[0].delta.role == "assistant"
            assert "".join(part.delta.content or "" for part in parts) == (choice.message.content or "")
            assert [part.finish_reason for part in parts if part.finish_reason] == [choice.finish_reason]
            assert calls_of(parts) == [
                (call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
            ]
            if choice.logprobs is not None:
                streamed = [entry for part in parts if part.logprobs for entry in part.logprobs.content or ()]
                assert [entry.token for entry in streamed] == [entry.token for entry in choice.logprobs.content]
                assert len(streamed) > 0
                assert all(
                    len(entry.top_logprobs) == fields.get("top_logprobs", 0) for entry in choice.logprobs.content
                )


def calls_of(parts: list[Any]) -> list[tuple[str, str]]:
    """The tool calls that deltas add up to: names come once, arguments in pieces."""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for part in parts:
        for call in part.delta.tool_calls or ():
            names[call.index] = names.get(call.index, "") + (call.function.name or "")
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return [(names[index], arguments[index]) for index in sorted(names)]


def test_the_model_knows_its_sums(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(**GREEDY, messages=QUESTION)
    assert chat.choices[0].message.content == ANSWER
    assert chat.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("content", ["Add 12 and 30.", [{"type": "text", "text": "Add 12 and 30."}]])
def test_messages_of_every_kind(client: openai.OpenAI, content: Any) -> None:
    conversation = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello", "name": "ann"},
        {"role": "assistant", "content": "Hello! What can I do for you?"},
        {"role": "user", "content": content},
    ]
    chat = client.chat.completions.create(**GREEDY, messages=conversation)
    assert "42" in chat.choices[0].message.content


@pytest.mark.parametrize("fields", COMPLETIONS, ids=str)
def test_completions(client: openai.OpenAI, lax: openai.OpenAI, fields: dict[str, Any]) -> None:
    asked = {**GREEDY, "prompt": "one two", "max_tokens": 8, **fields}
    strict = not (fields.get("echo") and fields.get("logprobs"))  # nothing predicts a first token: OpenAI sends null
    whole = (client if strict else lax).completions.create(**asked)
    prompts = 2 if fields.get("prompt") in (["hello", "world"], [[5, 6], [7]]) else 1
    assert [choice.index for choice in whole.choices] == list(range(prompts * fields.get("n", 1)))
    chunks = list(lax.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    for choice in whole.choices:
        parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert parts[-1].finish_reason == choice.finish_reason
        if fields.get("echo"):
            assert choice.text.startswith("one two")
        if fields.get("logprobs") is not None:
            lists = choice.logprobs
            assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset)
            assert [token for part in parts for token in part.logprobs.tokens] == lists.tokens
    if fields.get("echo") and fields.get("logprobs"):
        lists = whole.choices[0].logprobs
        assert (lists.token_logprobs[0], "".join(lists.tokens)) == (None, whole.choices[0].text)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "jaxpaged"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


def test_raw_and_streamed_responses(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        **GREEDY, messages=QUESTION, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.parse().choices[0].message.content == ANSWER
    with client.chat.completions.with_streaming_response.create(**GREEDY, messages=QUESTION) as response:
        assert ANSWER in "".join(response.iter_text())


def test_the_accumulating_helper(lax: openai.OpenAI) -> None:
    with lax.chat.completions.stream(
        **GREEDY, messages=QUESTION, logprobs=True, top_logprobs=1, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == ANSWER
    assert final.usage.completion_tokens == len(final.choices[0].logprobs.content)


class Sum(BaseModel):
    """What .parse() asks for."""

    sum: int


@needs("structured")
def test_parse(client: openai.OpenAI) -> None:
    chat = client.chat.completions.parse(**GREEDY, messages=QUESTION, response_format=Sum, max_tokens=40)
    assert isinstance(chat.choices[0].message.parsed, Sum)


@needs("structured")
def test_parse_while_streaming(lax: openai.OpenAI) -> None:
    with lax.chat.completions.stream(**GREEDY, messages=QUESTION, response_format=Sum, max_tokens=40) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Sum)


@needs("tools", "structured")
def test_a_tool_called_and_answered(client: openai.OpenAI) -> None:
    chosen = {"type": "function", "function": {"name": "add"}}
    chat = client.chat.completions.create(**GREEDY, messages=QUESTION, tools=[TOOL], tool_choice=chosen, max_tokens=60)
    (call,) = chat.choices[0].message.tool_calls
    assert (call.type, call.function.name) == ("function", "add")
    result = {"role": "tool", "tool_call_id": call.id, "content": "42"}
    again = [*QUESTION, chat.choices[0].message.model_dump(exclude_none=True), result]
    assert client.chat.completions.create(**GREEDY, messages=again, tools=[TOOL]).choices


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"model": "gpt-5"}, openai.NotFoundError, "model"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"extra_body": {"n": "two"}}, openai.BadRequestError, "n"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, openai.BadRequestError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(client: openai.OpenAI, fields: dict[str, Any], kind: type, param: str | None, stream: bool) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{**GREEDY, "messages": QUESTION, **fields}, stream=stream)
    error = caught.value
    assert error.message
    assert isinstance(error.type, str)
    assert param is None or error.param == param
    if param is None:
        assert error.code == "context_length_exceeded"


def test_a_wrong_key(base_url: str) -> None:
    with new_client(base_url, api_key="wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"


@needs("pooling")
def test_embeddings_name_the_kind_of_model_they_need(client: openai.OpenAI) -> None:
    for encoding in ("float", "base64"):
        with pytest.raises(openai.BadRequestError, match=r"pooling|embedding"):
            client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format=encoding)


@needs("responses")
def test_responses(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="Add 12 and 30.", temperature=0, store=True)
    assert whole.output_text == ANSWER
    more = client.responses.create(model=MODEL, input="Add 1 and 2.", previous_response_id=whole.id, temperature=0)
    assert "3" in more.output_text
    assert client.responses.retrieve(whole.id).output_text == ANSWER


@needs("responses")
def test_responses_streamed(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input="Add 12 and 30.", temperature=0, stream=True))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert [event.sequence_number for event in events] == list(range(len(events)))


@needs("batches")
def test_a_batch_of_files(client: openai.OpenAI) -> None:
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"%b","messages":' % (
        MODEL.encode()
    )
    line += b'[{"role":"user","content":"Add 12 and 30."}],"temperature":0}}\n'
    file = client.files.create(file=("batch.jsonl", line), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    for _ in range(100):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed"):
            break
    assert batch.status == "completed"
    assert ANSWER in client.files.content(batch.output_file_id).text
