"""thinking_token_budget in every dialect: the engine is told how long a thought may be, and it ends there."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.engine.thinking.thought import ThoughtProgress
from server.flags import ServerOptions
from tests.server.harness import client, events
from tests.server.talker import HARMONY, HARMONY_TOKENS, Talker
from tests.server.test_dialect_tools import clients
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
THOUGHT, ANSWER = "where is the lazy dog? over the quick brown fox jumps", "hello world"
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "hello"},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 90},
}


class Thinker(Talker):
    """Thinks THOUGHT, or as much of it as it may, then says ANSWER."""

    def _tokens(self, request: EngineRequest) -> list[int]:
        begin, thought, rest = (self.tokenizer.encode(text) for text in ("<think>", THOUGHT, ANSWER))
        mark = self.tokenizer.encode("</think>")
        if request.thinking is None:
            return [*begin, *thought, *mark, *rest, self._end]
        said, progress = [], ThoughtProgress.of(request.thinking)
        for token in [*begin, *thought, *mark]:
            said.append(token if progress.free() else progress.next_forced())
            progress.advance(said[-1:])
            if len(said) > len(begin) and progress.length is None:
                break
        return [*said, *rest, self._end]


def first_tokens(count: int) -> str:
    tokenizer = hf_tokenizer()
    return tokenizer.decode(tokenizer.encode(THOUGHT)[:count])


@pytest.mark.parametrize("budget", [0, 3, 60])
async def test_every_dialect_ends_the_thought_there(budget: int) -> None:
    thinker, own = Thinker(), {"thinking_token_budget": budget}
    thought = first_tokens(budget)
    async with clients(thinker) as (ai, claude):
        chat = await ai.chat.completions.create(model="fake", messages=MESSAGES, extra_body=own)
        deltas = [
            event.choices[0].delta
            async for event in await ai.chat.completions.create(
                model="fake", messages=MESSAGES, extra_body=own, stream=True
            )
        ]
        completion = await ai.completions.create(model="fake", prompt="hello", max_tokens=90, extra_body=own)
        response = await ai.responses.create(model="fake", input="hello", extra_body=own)
        message = await claude.messages.create(
            model="fake", max_tokens=90, messages=MESSAGES, thinking={"type": "enabled", "budget_tokens": budget or 1}
        )
    said = chat.choices[0].message
    assert (said.reasoning or "", said.content) == (thought, ANSWER)
    assert chat.usage.completion_tokens_details.reasoning_tokens == min(budget, len(hf_tokenizer().encode(THOUGHT)))
    assert "".join(delta.reasoning or "" for delta in deltas if hasattr(delta, "reasoning")) == thought
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    assert completion.choices[0].text == f"<think>{thought}</think>{ANSWER}"
    assert response.output_text == ANSWER
    assert [item.content[0].text for item in response.output if item.type == "reasoning"] == [thought] * bool(budget)
    assert [block.thinking for block in message.content if block.type == "thinking"] == [first_tokens(budget or 1)]


async def test_tokens_in_tokens_out_and_the_smaller_of_two_budgets() -> None:
    thinker = Thinker()
    async with client(llm=thinker.llm) as http:
        body = {"token_ids": thinker.tokenizer.encode("hello <think>\n"), "sampling_params": {}}
        body["sampling_params"] = {"thinking_token_budget": 5, "max_tokens": 40}
        assert (await http.post("/inference/v1/generate", json=body)).status_code == 200
        limit = thinker.engine.requests[-1].thinking
        assert (limit.budget, limit.begun) == (5, 1)  # the prompt's new line belongs to the thought
        thinking = {"type": "enabled", "budget_tokens": 2000}
        for own, expected in ((7, 7), (-1, 2000), (3000, 2000)):
            body = BODIES["/v1/messages"] | {"max_tokens": 4000, "thinking": thinking, "thinking_token_budget": own}
            assert (await http.post("/v1/messages", json=body)).status_code == 200
            assert thinker.engine.requests[-1].thinking.budget == expected
        body = BODIES["/v1/messages"] | {"thinking": {"type": "enabled", "budget_tokens": 2**40}}
        assert (await http.post("/v1/messages", json=body)).status_code == 200
        assert thinker.engine.requests[-1].thinking is None  # max_tokens comes first


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_budgets_are_refused_by_name(route: str, stream: bool) -> None:
    async with client(llm=Thinker().llm) as http:
        for budget in (-2, True, 1.5, "7", 2**31, 2**70, [1]):
            body = BODIES[route] | {"thinking_token_budget": budget, "stream": stream}
            answer = await http.post(route, json=body)
            assert (answer.status_code, "thinking_token_budget" in answer.text) == (400, True), answer.text


@pytest.mark.parametrize("route", BODIES)
async def test_without_marks_a_budget_is_refused(route: str) -> None:
    """But Anthropic's is a hint there, as it was."""
    async with client(llm=(talker := Talker()).llm, options=ServerOptions(reasoning_parser="none")) as http:
        answer = await http.post(route, json=BODIES[route] | {"thinking_token_budget": 4})
        assert (answer.status_code, "--reasoning-parser" in answer.text) == (400, True)
        thinking = {"type": "enabled", "budget_tokens": 40}
        answer = await http.post("/v1/messages", json=BODIES["/v1/messages"] | {"thinking": thinking})
        assert answer.status_code == 200
        assert talker.engine.requests[-1].thinking is None


async def test_what_a_budget_does_not_go_with() -> None:
    async with client(llm=Thinker().llm) as http:
        for more, words in (
            ({"use_beam_search": True, "n": 2}, "does not go with use_beam_search"),
            ({"bad_words": ["</think>"]}, "what bad_words forbids"),
            ({"allowed_token_ids": [5, 6]}, "allowed_token_ids does not hold"),
        ):
            for route in ("/v1/completions", "/v1/chat/completions"):
                answer = await http.post(route, json=BODIES[route] | {"thinking_token_budget": 4, **more})
                assert (answer.status_code, words in answer.text) == (400, True), answer.text


@pytest.mark.parametrize(
    ("parser", "end", "begun"), [("deepseek_r1", "</think>", 0), ("qwen3", "</think>", None), ("seed_oss", None, 0)]
)
async def test_a_parser_that_is_named_says_the_marks(parser: str, end: str | None, begun: int | None) -> None:
    """With some an answer begins within a thought although its prompt shows no mark."""
    talker = Talker()
    async with client(llm=talker.llm, options=ServerOptions(reasoning_parser=parser)) as http:
        body = BODIES["/v1/chat/completions"] | {"thinking_token_budget": 4}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    limit = talker.engine.requests[-1].thinking
    assert limit.begun == begun
    assert talker.tokenizer.decode(limit.forced[0]) == (end or "</seed:think>")


async def test_harmony_ends_a_message_of_analysis() -> None:
    text = "<|channel|>analysis<|message|>where?<|end|><|start|>assistant<|channel|>final<|message|>hello"
    talker = Talker(text, HARMONY, special=HARMONY_TOKENS)
    async with client(llm=talker.llm) as http:
        body = BODIES["/v1/chat/completions"] | {"thinking_token_budget": 4, "stream": True}
        answer = await http.post("/v1/chat/completions", json=body)
    assert "".join(event["choices"][0]["delta"].get("reasoning") or "" for event in events(answer.text)) == "where?"
    limit = talker.engine.requests[-1].thinking
    assert (talker.tokenizer.decode(limit.forced[0]), limit.begun) == ("<|end|>", None)


async def test_each_sample_gets_the_limit() -> None:
    async with client(llm=(thinker := Thinker()).llm) as http:
        body = BODIES["/v1/chat/completions"] | {"thinking_token_budget": 2, "n": 3, "temperature": 1.0}
        answer = (await http.post("/v1/chat/completions", json=body)).json()
    assert [choice["message"]["reasoning"] for choice in answer["choices"]] == [first_tokens(2)] * 3
    assert [request.thinking.budget for request in thinker.engine.requests] == [2] * 3
