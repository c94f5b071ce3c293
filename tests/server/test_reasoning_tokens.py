"""reasoning_tokens: every token with text between the marks, however the steps bring them; marks do not count."""

from __future__ import annotations

import pytest

from jaxpaged.outputs import CompletionOutput
from server.answers.reasoning.tokens import ReasoningTokens
from tests.server.talker import Talker
from tests.server.test_dialect_tools import clients
from tests.text.samples import hf_tokenizer

pytestmark = pytest.mark.anyio
ANSWERS = ["<think>where is it, the lazy dog?</think>\n\nhello world", "hello world", "<think></think>stop here!"]
MESSAGES = [{"role": "user", "content": "hello"}]


def expected(text: str) -> int:
    """Tokens whose characters lie between the marks, at least in part."""
    begin, end = text.find("<think>") + len("<think>"), text.find("</think>")
    offsets = hf_tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]
    return sum(first < end and last > begin for first, last in offsets) if end >= 0 else 0


def counted(ends: list[int], *thoughts: tuple[int, int | None]) -> int:
    tokens = ReasoningTokens()
    tokens.note(CompletionOutput(0, "", [], None, None, text_ends=ends))
    return tokens.count(thoughts)


def test_what_counts() -> None:
    assert counted([7, 9, 9, 12, 20, 23], (7, 12)) == 3  # a part of a character counts as it comes
    assert counted([7, 7, 9, 15], (7, 9)) == 2  # also right after the mark
    assert counted([3, 8, 11, 19], (7, 11)) == 2  # a token that holds the end of the mark and more
    assert counted([3, 8, 14], (0, 7)) == 2  # the prompt has begun it; the last token holds the mark too
    assert counted([7, 15], (7, 7)) == 0
    assert counted([7, 9, 11], (7, None)) == 2
    assert counted([2, 4, 4], (0, 4)) == 2  # an end token without text
    assert counted([7, 9, 20, 30, 34, 40], (7, 9), (30, 34)) == 2
    assert counted([], (0, None)) == 0


@pytest.mark.parametrize("tokens_per_step", [1, 7])
@pytest.mark.parametrize("text", ANSWERS)
async def test_every_dialect_counts_the_same(text: str, tokens_per_step: int) -> None:
    async with clients(Talker(text, tokens_per_step=tokens_per_step)) as (ai, anthropic):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        whole = await ai.chat.completions.create(model="fake", messages=MESSAGES)
        chunks = [chunk async for chunk in await ai.chat.completions.create(model="fake", messages=MESSAGES, **options)]
        response = await ai.responses.create(model="fake", input="hello")
        message = await anthropic.messages.create(model="fake", max_tokens=99, messages=MESSAGES)
    found = [usage.completion_tokens_details.reasoning_tokens for usage in (whole.usage, chunks[-1].usage)]
    found.append(response.usage.output_tokens_details.reasoning_tokens)
    found.append(message.usage.output_tokens_details.thinking_tokens)
    assert found == [expected(text)] * 4


async def test_an_answer_that_is_cut_within_its_reasoning() -> None:
    async with clients(Talker(ANSWERS[0])) as (ai, _):
        mark = len(hf_tokenizer().encode("<think>"))
        cut = await ai.chat.completions.create(model="fake", messages=MESSAGES, max_tokens=mark + 4, n=2, seed=1)
    assert cut.usage.completion_tokens_details.reasoning_tokens == 2 * 4
