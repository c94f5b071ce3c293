"""The marks around a thought: how a tokenizer spells them, what a prompt has begun, which limits are never reached."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.arguments.engine_args import EngineArgs
from jaxpaged.arguments.settings import config_of
from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.frontend.thinking import ReasoningMarks, reasoning_marks
from jaxpaged.params.thinking import ThinkingLimit
from jaxpaged.sampling_params import SamplingParams
from server.answers.parsers import AnswerParsers
from server.answers.reasoning.families import VLLM_NAMES
from tests.frontend.test_input_processor import processor
from tests.text.samples import hf_tokenizer

CONFIG = {"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}


def encode(text: str) -> list[int]:
    return hf_tokenizer().encode(text, add_special_tokens=False)


def marks(config: dict[str, Any] = CONFIG, known: Any = ((), ())) -> ReasoningMarks:
    found = reasoning_marks(hf_tokenizer(), 512, config, known)
    assert found is not None
    return found


def limit(prompt: str, budget: int = 5, **params: Any) -> ThinkingLimit | None:
    asked = SamplingParams(**{"thinking_token_budget": budget, "max_tokens": 30, **params})
    return processor(reasoning_config=CONFIG).process("a", prompt, asked).message.thinking


@pytest.mark.parametrize(
    ("prompt", "begun"),
    [
        ("hello", None),
        ("hello <think>", 0),
        ("hello <think>\n", 1),
        ("hello <think> the fox", len(encode(" the fox"))),
        ("hello <think>\n\n</think>\n\n", None),
        ("<think> hello</think> world <think>stop", len(encode("stop"))),
    ],
)
def test_what_the_prompt_has_begun(prompt: str, begun: int | None) -> None:
    found = limit(prompt)
    assert found is not None
    assert (found.begun, found.budget, set(found.forced)) == (begun, 5, {tuple(encode("</think>"))})


def test_limits_that_are_never_reached_cost_nothing() -> None:
    assert limit("hello", max_tokens=5) is None
    assert limit("hello <think>\n", max_tokens=5) is not None
    assert limit("hello", -1) is None


def test_every_sample_has_the_limit() -> None:
    asked = SamplingParams(n=3, thinking_token_budget=1, temperature=1.0)
    first, *others = processor(reasoning_config=CONFIG).process("a", "hello", asked).samples
    assert first.thinking is not None
    assert all(other.thinking == first.thinking for other in others)


def test_a_mark_of_many_tokens_has_many_spellings() -> None:
    """What stands around it may be one token with its ends: all that is found ends the thought, one is forced."""
    found = marks({"reasoning_start_str": "<a>", "reasoning_end_str": "stop here"})
    assert set(found.forced) == {tuple(encode("stop here"))}
    for text in ("the dog stop here", "dog.stop here\n\n", "\nstop here! "):
        tokens = tuple(encode(text))
        starts = range(len(tokens))
        assert any(tokens[at : at + len(end)] == end for end in found.ends for at in starts), text


def test_a_sentence_before_the_mark_is_forced_but_not_awaited() -> None:
    sentence = {**CONFIG, "reasoning_end_str": "stop here, the answer is</think>"}
    for known in (((), ()), (("<think>",), ("</think>",))):
        found = marks(sentence, known)
        assert hf_tokenizer().decode(found.forced[0]) == "stop here, the answer is</think>"
        assert tuple(encode("</think>")) in found.ends


def test_what_a_config_leaves_out_comes_from_the_parser() -> None:
    known = (("<think>", "Thought:"), ("</think>", "Answer:"))
    assert marks({}, known).ends[0] == tuple(encode("</think>"))
    assert marks({"reasoning_start_str": "<a>"}, known).begins[0] == tuple(encode("<a>"))
    assert reasoning_marks(hf_tokenizer(), 512, {"reasoning_start_str": "<a>"}) is None
    assert reasoning_marks(None, 512, CONFIG) is None


def test_a_thought_ends_as_it_has_begun() -> None:
    """Families with marks of several kinds, as Granite."""
    found = marks({}, (("Thought:", "<think>"), ("Answer:", "</think>")))
    for prompt, end in (("hello Thought:", "Answer:"), ("hello <think>", "</think>"), ("hello", "Answer:")):
        asked = SamplingParams(thinking_token_budget=1, max_tokens=5)
        limit = found.limit(asked, encode(prompt), opened=None)
        assert limit is not None
        assert limit.forced[limit.opening] == tuple(encode(end))


def test_marks_that_the_model_cannot_say() -> None:
    assert reasoning_marks(hf_tokenizer(), 200, {}, (("<think>",), ("</think>",))) is None
    with pytest.raises(ConfigError, match="cannot spell"):
        reasoning_marks(hf_tokenizer(), 200, CONFIG)


def test_without_marks_a_budget_is_refused() -> None:
    with pytest.raises(RequestError, match=r"reasoning_config=.*--reasoning-parser") as caught:
        processor().process("a", "hello", SamplingParams(thinking_token_budget=1))
    assert caught.value.param == "thinking_token_budget"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reasoning_start": "<a>"}, "has 'reasoning_start'; it takes reasoning_start_str and reasoning_end_str"),
        ({"reasoning_parser": "qwen3"}, "has 'reasoning_parser'"),
        ({"reasoning_end_str": 5}, "is no text"),
    ],
)
def test_a_bad_config_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EngineArgs(reasoning_config=given).create_engine_config()


@pytest.mark.parametrize("name", VLLM_NAMES)
def test_a_parser_that_python_names_says_the_marks(name: str) -> None:
    """As the server's parser of that name does; what reasoning_config says comes first."""
    known = AnswerParsers(reasoning=name).marks()
    assert known is not None
    start, end = (spellings[0] for spellings in known)
    found = EngineArgs(reasoning_parser=name).create_engine_config().model.reasoning_config
    assert found == {"reasoning_start_str": start, "reasoning_end_str": end}
    own = {"reasoning_start_str": "", "reasoning_end_str": f"stop{end}"}
    found = EngineArgs(reasoning_parser=name, reasoning_config=own).create_engine_config().model.reasoning_config
    assert found == {"reasoning_start_str": start, "reasoning_end_str": f"stop{end}"}


def test_an_argument_like_vllms() -> None:
    assert config_of({"reasoning_config": CONFIG}).model.reasoning_config == CONFIG
    assert EngineArgs(reasoning_config={"reasoning_parser": "", **CONFIG}).create_engine_config()
