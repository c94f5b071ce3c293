"""Tools and reasoning through /v1/chat/completions, at once and as a stream, as openai-python reads them."""

from __future__ import annotations

import importlib
import re

import openai
import pytest

from server.app import build_app
from tests.server.harness import client, events
from tests.server.talker import HARMONY, HARMONY_TOKENS, MISTRAL, Talker

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello world"}]
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"properties": {"x": {"type": "integer"}}}}},
    {"type": "function", "function": {"name": "now", "description": "the time"}},
]
TWO_CALLS = (
    'I see.\n<tool_call>\n{"name": "add", "arguments": {"x": 3, "note": "naïve \\"café\\" 🙂"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)
ARGUMENTS = '{"x": 3, "note": "naïve \\"café\\" 🙂"}'


async def ask(talker: Talker, **body) -> dict:
    """The only choice."""
    async with client(llm=talker.llm) as http:
        response = await http.post(PATH, json={"messages": MESSAGES, **body})
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    return choice


async def stream(talker: Talker, **body) -> list[dict]:
    """The choices of the chunks."""
    async with client(llm=talker.llm) as http:
        response = await http.post(PATH, json={"messages": MESSAGES, "stream": True, **body})
    assert response.text.endswith("data: [DONE]\n\n"), response.text
    return [chunk["choices"][0] for chunk in events(response.text)]


def joined(choices: list[dict], *path: str) -> str:
    texts = []
    for choice in choices:
        value = choice["delta"]
        for name in path:
            value = value.get(name) or {}
        texts.append(value or "")
    return "".join(texts)


async def test_calls_are_split_from_the_text() -> None:
    choice = await ask(Talker(TWO_CALLS), tools=TOOLS)
    message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == ("I see.", "tool_calls")
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "add", "arguments": ARGUMENTS},
        {"name": "now", "arguments": "{}"},
    ]
    assert all(call["type"] == "function" for call in message["tool_calls"])
    ids = {call["id"] for call in message["tool_calls"]}
    assert len(ids) == 2
    assert all(re.fullmatch("call_[0-9a-f]{24}", call_id) for call_id in ids)


async def test_the_content_of_a_call_alone_is_null() -> None:
    message = (await ask(Talker('<tool_call>{"name": "now", "arguments": {}}</tool_call>'), tools=TOOLS))["message"]
    assert message["content"] is None


@pytest.mark.parametrize("tokens_per_step", [1, 3, 1000])
async def test_a_stream_brings_calls_in_pieces(tokens_per_step: int) -> None:
    choices = await stream(Talker(TWO_CALLS, tokens_per_step=tokens_per_step), tools=TOOLS)
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert joined(choices, "content") == "I see."
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["tool_calls"]
    parts = [part for choice in choices for part in choice["delta"].get("tool_calls", [])]
    for index, name, arguments in ((0, "add", ARGUMENTS), (1, "now", "{}")):
        mine = [part for part in parts if part["index"] == index]
        assert mine[0]["function"]["name"] == name
        assert mine[0]["type"] == "function"
        assert all("id" not in part and "type" not in part and "name" not in part["function"] for part in mine[1:])
        assert "".join(part["function"]["arguments"] for part in mine) == arguments
    assert all(choice["delta"] or choice["finish_reason"] for choice in choices)


@pytest.mark.parametrize("text", [TWO_CALLS, "<think>Hm.</think>Hello.", "Just text.\n", "  <tool_call>"])
async def test_openai_python_adds_a_stream_up_to_the_whole(text: str) -> None:
    http_library = importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
    talker = Talker(text)
    transport = http_library.ASGITransport(build_app(talker.llm))
    async with openai.AsyncOpenAI(
        base_url="http://test/v1",
        api_key="key",
        http_client=openai.DefaultAsyncHttpxClient(transport=transport),
        _strict_response_validation=True,
    ) as api:
        whole = await api.chat.completions.create(model="fake", messages=MESSAGES, tools=TOOLS)
        async with api.chat.completions.stream(model="fake", messages=MESSAGES, tools=TOOLS) as chunks:
            streamed = await chunks.get_final_completion()
    talker.llm.shutdown()
    for choice in (whole.choices[0], streamed.choices[0]):
        for call in choice.message.tool_calls or ():
            call.id = ""
    first, second = (completion.choices[0].message for completion in (whole, streamed))
    assert (second.content or "") == (first.content or "")
    assert [call.function.arguments for call in second.tool_calls or ()] == [
        call.function.arguments for call in first.tool_calls or ()
    ]
    assert [call.function.name for call in second.tool_calls or ()] == [
        call.function.name for call in first.tool_calls or ()
    ]
    assert (second.model_extra or {}).get("reasoning") == first.model_extra.get("reasoning")
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason


async def test_tools_reach_the_template_unless_none_may_be_called() -> None:
    talker = Talker(TWO_CALLS)
    async with client(llm=talker.llm) as http:
        for body in ({"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}, {}):
            response = await http.post(PATH, json={"messages": MESSAGES, **body})
            assert response.status_code == 200, response.text
            if body.get("tool_choice") == "none" or not body.get("tools"):
                assert response.json()["choices"][0]["message"]["content"] == TWO_CALLS
        ids = (await http.post("/tokenize", json={"messages": MESSAGES, "tools": TOOLS})).json()["tokens"]
    prompts = [talker.prompt(index) for index in range(4)]
    assert '"name": "add"' in prompts[0]
    assert '"properties": {}' in prompts[0]  # what a template may rely on is filled in
    assert prompts[1] == prompts[2] == prompts[3] == "<|im_start|>user\nhello world<|im_end|>\n<|im_start|>assistant\n"
    assert ids == talker.engine.requests[0].prompt_token_ids


async def test_without_parallel_calls_the_first_counts() -> None:
    talker = Talker(TWO_CALLS)
    message = (await ask(talker, tools=TOOLS, parallel_tool_calls=False))["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["add"]


async def test_an_answer_that_was_cut_off_says_so() -> None:
    choice = await ask(Talker(TWO_CALLS), tools=TOOLS, max_tokens=60)
    assert choice["finish_reason"] == "length"
    assert ARGUMENTS.startswith(choice["message"]["tool_calls"][0]["function"]["arguments"])


async def test_functions_that_came_before_tools() -> None:
    functions = [tool["function"] for tool in TOOLS]
    choice = await ask(Talker(TWO_CALLS), functions=functions, function_call="auto")
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "add", "arguments": ARGUMENTS}
    assert "tool_calls" not in choice["message"]
    choices = await stream(Talker(TWO_CALLS), functions=functions)
    assert joined(choices, "function_call", "name") == "add"
    assert joined(choices, "function_call", "arguments") == ARGUMENTS
    assert choices[-1]["finish_reason"] == "function_call"


async def test_a_conversation_with_calls_in_it() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"x": 7}'}}
    talker = Talker()
    old = {"role": "assistant", "content": None, "function_call": call["function"]}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "I add."},
        {"role": "tool", "tool_call_id": "call_1", "content": "8"},
        old,
        {"role": "function", "name": "add", "content": "9"},
        {"role": "assistant", "content": "17", "tool_calls": None},
    ]
    await ask(talker, messages=messages)
    turn = "<tool_call>add:x=7;</tool_call><|im_end|>\n<|im_start|>tool\n"
    assert f"assistant\n<think>I add.</think>{turn}8<|im_end|>" in talker.prompt()
    assert f"assistant\n{turn}9<|im_end|>\n<|im_start|>assistant\n17<|im_end|>" in talker.prompt()


async def test_reasoning_has_a_field_of_its_own() -> None:
    text = "<think>\nThey greet.\n</think>\n\nHello."
    message = (await ask(Talker(text)))["message"]
    assert (message["reasoning"], message["reasoning_content"], message["content"]) == ("They greet.",) * 2 + (
        "Hello.",
    )
    choices = await stream(Talker(text))
    assert joined(choices, "reasoning") == joined(choices, "reasoning_content") == "They greet."
    assert joined(choices, "content") == "Hello."
    message = (await ask(Talker(text), include_reasoning=False))["message"]
    assert "reasoning" not in message
    assert message["content"] == "Hello."
    choices = await stream(Talker(text), include_reasoning=False)
    assert joined(choices, "reasoning") == ""
    assert joined(choices, "content") == "Hello."
    message = (await ask(Talker("Hello.")))["message"]
    assert (message["reasoning"], message["content"]) == (None, "Hello.")


async def test_a_prompt_may_begin_the_reasoning() -> None:
    template = "{{ messages[-1].content }}{% if add_generation_prompt %}<think>\n{% endif %}"
    message = (await ask(Talker("Hm.</think>Hi.", template)))["message"]
    assert (message["reasoning"], message["content"]) == ("Hm.", "Hi.")
    begun = [*MESSAGES, {"role": "assistant", "content": "<think>I"}]
    for continued in (begun, [*MESSAGES, {"role": "assistant", "content": "<think>I</think>So"}]):
        talker = Talker("Hm.</think>Hi.", template)
        message = await ask(talker, messages=continued, continue_final_message=True, add_generation_prompt=False)
        expected = ("Hm.", "Hi.") if continued is begun else (None, "Hm.</think>Hi.")
        assert (message["message"]["reasoning"], message["message"]["content"]) == expected


async def test_special_tokens_are_seen_by_the_parser_only() -> None:
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
        '<|constrain|>json<|message|>{"x": 1}<|call|><|start|>assistant<|channel|>final<|message|>So <|spare|>it is.'
    )
    special = (*HARMONY_TOKENS, "<|spare|>")
    message = (await ask(Talker(text, HARMONY, special=special), tools=TOOLS))["message"]
    assert (message["reasoning"], message["content"]) == ("Hm.", "So it is.")
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x": 1}'}
    choices = await stream(Talker(text, HARMONY, special=special), tools=TOOLS)
    assert (joined(choices, "reasoning"), joined(choices, "content")) == ("Hm.", "So it is.")
    message = (await ask(Talker(text, HARMONY, special=special), tools=TOOLS, skip_special_tokens=False))["message"]
    assert message["content"] == "So <|spare|>it is."


async def test_ids_are_those_of_the_family() -> None:
    talker = Talker('[TOOL_CALLS]add[ARGS]{"x": 1}', MISTRAL, special=("[TOOL_CALLS]", "[ARGS]"))
    (call,) = (await ask(talker, tools=TOOLS))["message"]["tool_calls"]
    assert re.fullmatch("[0-9A-Za-z]{9}", call["id"])


async def test_logprobs_and_token_ids_lose_no_token() -> None:
    whole = await ask(Talker(TWO_CALLS), tools=TOOLS, logprobs=True, return_token_ids=True)
    choices = await stream(Talker(TWO_CALLS), tools=TOOLS, logprobs=True, return_token_ids=True)
    assert [token for choice in choices[1:] for token in choice["token_ids"]] == whole["token_ids"]
    entries = [entry for choice in choices[1:] for entry in choice["logprobs"]["content"]]
    assert entries == whole["logprobs"]["content"]


async def test_answers_of_one_request_are_parsed_apart() -> None:
    choices = await stream(Talker(TWO_CALLS, tokens_per_step=2), tools=TOOLS, n=2)
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert joined(mine, "content") == "I see."
        assert mine[-1]["finish_reason"] == "tool_calls"


def tool(name: object = "f", **function) -> dict:
    return {"type": "function", "function": {"name": name, **function}}
