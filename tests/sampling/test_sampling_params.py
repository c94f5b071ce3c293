"""Every field of SamplingParams: what it becomes, what it refuses and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jaxpaged.errors import RequestError
from jaxpaged.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams

NAN, INF = float("nan"), float("inf")
HUGE = 10**5000  # Python itself refuses to print it
INTEGERS = ("n", "top_k", "seed", "max_tokens", "min_tokens", "logprobs", "prompt_logprobs")
FLOATS = ("presence_penalty", "frequency_penalty", "repetition_penalty", "temperature", "top_p", "min_p")
BOOLEANS = (
    "ignore_eos",
    "detokenize",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "include_stop_str_in_output",
    "skip_reading_prefix_cache",
)
ID_LISTS = {"stop_token_ids": 128, "allowed_token_ids": 1024, "logprob_token_ids": 128}

BAD = [
    *((name, value) for name in INTEGERS for value in (1.5, "1", HUGE, -HUGE, 2**63, NAN)),
    *((name, True) for name in INTEGERS if "logprobs" not in name),
    *((name, value) for name in FLOATS for value in (True, "0.5", None, NAN, INF, -INF, 10**400, HUGE, [1.0])),
    *((name, value) for name in BOOLEANS for value in (1, 0, "yes")),
    *((name, value) for name in ID_LISTS for value in ("12", 5, [1.5], [True], [-1], [2**31], [HUGE], ["1"])),
    *((name, [0] * (most + 1)) for name, most in ID_LISTS.items()),
    *(("n", value) for value in (0, -1, 129, 2**31)),
    *(("temperature", value) for value in (-1, -1e-9, 2.1)),
    *(("top_p", value) for value in (0, -1, 1.01)),
    ("top_k", -2),
    ("top_k", 2**31),
    *(("min_p", value) for value in (-1, 1.01, 2)),
    *((name, value) for name in ("presence_penalty", "frequency_penalty") for value in (-2.1, 2.1)),
    *(("repetition_penalty", value) for value in (0, -1.0, 1e39)),
    *(("max_tokens", value) for value in (0, -1, 2**31)),
    *(("min_tokens", value) for value in (-1, 17)),
    *((name, -2) for name in ("logprobs", "prompt_logprobs")),
    *(("stop", value) for value in ("", ["a", ""], [1], 5, {"a": 1})),
    *(("bad_words", value) for value in ("word", [""], [1], [f"w{i}" for i in range(129)])),
    ("allowed_token_ids", []),
    *(("logit_bias", value) for value in ([1], {1: NAN}, {1: INF}, {1: True}, {1: "2"}, {-1: 1.0}, {"x": 1.0})),
    *(("logit_bias", value) for value in ({"9" * 5000: 1.0}, {2**31: 1.0}, {1.5: 1.0}, {1: HUGE})),
    ("logit_bias", dict.fromkeys(range(1025), 1.0)),
    ("output_kind", 1),
    *(("stream_interval", value) for value in (0, -1, 1.5, True, "2")),
    *(("thinking_token_budget", value) for value in (-2, 2**31, 2**70, 1.0, True, "5", [])),
    *(("extra_args", value) for value in ([], "a")),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda value: value if isinstance(value, str) else "value")
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n", (1, 128)),
        ("temperature", (0, 0.0, 0.01, 2, 2.0)),
        ("top_p", (1e-300, 1, 1.0)),
        ("top_k", (-1, 0, 1, 2**31 - 1)),
        ("min_p", (0, 1.0)),
        ("presence_penalty", (-2, 2.0)),
        ("frequency_penalty", (-2.0, 2)),
        ("repetition_penalty", (1e-300, 1e38)),
        ("seed", (-(2**63), 0, 2**63 - 1, None)),
        ("max_tokens", (1, 2**31 - 1, None)),
        ("min_tokens", (0, 16)),
        ("logprobs", (-1, 0, 20, None)),
        ("prompt_logprobs", (-1, 0, 20, None)),
        ("stop_token_ids", ([], None, list(range(128)))),
        ("allowed_token_ids", ([0], None, list(range(1024)))),
        ("logprob_token_ids", ([], None, list(range(128)))),
        ("logit_bias", ({}, None, dict.fromkeys(range(1024), 1))),
        ("watermarking", (None, False)),
        ("extra_args", (None, {}, {"mine": [1]})),
        ("thinking_token_budget", (None, -1, 0, 2**31 - 1)),
        ("stream_interval", (None, 1, 2**31 - 1)),
    ],
)
def test_the_limits_themselves_are_allowed(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        SamplingParams(**{name: value})  # raises RequestError if it is not


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("watermarking", True),
        ("prompt_logprob_token_ids", [[1]]),
        ("prompt_logprob_start", 0),
        ("flat_logprobs", True),
        ("routed_experts_prompt_start", 1),
        ("trace_decode_token_ids", [1]),
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{name} is not served by this version") as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"temperature": 1e-320, "top_p": 0.5, "top_k": 5, "min_p": 0.1}, {"top_p": 1.0, "top_k": 0, "min_p": 0.0}),
        ({"temperature": 0.001}, {"temperature": 0.01}),
        ({"seed": -1}, {"seed": None}),
        ({"stop": None}, {"stop": []}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop_token_ids": [3, 1, 3]}, {"stop_token_ids": [3, 1]}),
        ({"bad_words": ["b", "a", "b"]}, {"bad_words": ["b", "a"]}),
        ({"logprobs": True, "prompt_logprobs": True}, {"logprobs": 1, "prompt_logprobs": 1}),
        ({"logit_bias": {"5": 300, 7: -101.5, 8: 2}}, {"logit_bias": {5: 100.0, 7: -100.0, 8: 2.0}}),
        ({"thinking_token_budget": -1}, {"thinking_token_budget": None}),
        ({"prompt_logprobs": 0}, {"skip_reading_prefix_cache": True}),
        ({}, {"skip_reading_prefix_cache": False, "stop_token_ids": [], "bad_words": []}),
        ({"temperature": 1}, {"temperature": 1.0}),
    ],
)
def test_values_are_normalised_as_in_vllm(given: dict[str, Any], becomes: dict[str, Any]) -> None:
    params = SamplingParams(**given)
    found = {name: getattr(params, name) for name in becomes}
    assert found == becomes
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in becomes.items()}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"temperature": 0, "n": 2}, "greedy"),
        ({"min_tokens": 5, "max_tokens": 4}, "more than max_tokens"),
        ({"stop": "a", "detokenize": False}, "detokenize=True"),
    ],
)
def test_fields_that_contradict_each_other(given: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        SamplingParams(**given)


def test_min_tokens_without_max_tokens() -> None:
    assert SamplingParams(min_tokens=500, max_tokens=None).min_tokens == 500


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"stop_token_ids": [100]}, "stop_token_ids"),
        ({"allowed_token_ids": [3, 100]}, "allowed_token_ids"),
        ({"logprob_token_ids": [100]}, "logprob_token_ids"),
        ({"logit_bias": {100: 1.0}}, "logit_bias"),
        ({"_bad_words_token_ids": [[1, 100]]}, "bad_words"),
        ({"bad_words": ["x"]}, "bad_words"),
        ({"_bad_words_token_ids": [[1]] * 257}, "bad_words"),
        ({"_bad_words_token_ids": [[1] * 1025]}, "bad_words"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"min_tokens": 65, "max_tokens": None}, "min_tokens"),
    ],
)
def test_what_depends_on_the_model_is_checked_by_validate(given: dict[str, Any], name: str) -> None:
    with pytest.raises(RequestError, match=name) as caught:
        SamplingParams(**given).validate(vocab_size=100, max_model_len=64, max_logprobs=20)
    assert caught.value.param == name


def test_validate_lets_the_limits_pass() -> None:
    """It raises RequestError if one does not."""
    SamplingParams(logprobs=20, prompt_logprobs=20, stop_token_ids=[99]).validate(100, 64, 20)
    SamplingParams(logprobs=-1).validate(100, 64, -1)
    SamplingParams(logprobs=-1).validate(10, 64, 10)
    SamplingParams(logprob_token_ids=list(range(50))).validate(100, 64, 20)


def test_an_unknown_keyword_names_the_closest_field() -> None:
    with pytest.raises(TypeError, match=r"'temprature'.*'temperature'"):
        SamplingParams(temprature=1.0)
    with pytest.raises(TypeError, match="'best_of'"):
        SamplingParams(best_of=2)
    with pytest.raises(TypeError, match="'beam_width'"):
        BeamSearchParams(beam_with=2, max_tokens=3)


def test_fields_by_position_are_in_vllms_order() -> None:
    params = SamplingParams(2, 0.1, 0.2, 1.1, 0.7, None, 0.9, 5, 0.05, 42, "end", [3])
    assert (params.presence_penalty, params.temperature, params.top_p, params.top_k) == (0.1, 0.7, 0.9, 5)
    assert (params.seed, params.stop, params.stop_token_ids) == (42, ["end"], [3])


def test_from_optional_takes_none_for_the_default() -> None:
    given = SamplingParams.from_optional(n=None, temperature=None, top_p=0.5, max_tokens=None)
    assert given == SamplingParams(top_p=0.5, max_tokens=None)


def test_messagepack_round_trip() -> None:
    params = SamplingParams(
        temperature=0.5, stop="a", logit_bias={3: 1.5}, allowed_token_ids=[1, 2], output_kind=RequestOutputKind.DELTA,
        _bad_words_token_ids=[[1, 2]], seed=2**63 - 1,
    )  # fmt: skip
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams) == params


def test_replace_keeps_everything() -> None:
    params = SamplingParams(seed=5, _bad_words_token_ids=[[1]], logit_bias={1: 2.0}, prompt_logprobs=1)
    assert replace(replace(params, n=2), n=1) == params


def encode(text: str) -> list[int]:
    """Words are tokens; a leading space is part of a known word, otherwise a token of its own."""
    known = {" cat": [3], "cat": [2], "new york": [5, 6], " new york": [9, 5, 6], " ": [9]}
    return known.get(text, [] if text in ("", " ") else [1])


def test_bad_words_are_tried_with_a_leading_space() -> None:
    params = SamplingParams(bad_words=["cat", " new york", "dog"]).tokenize_bad_words(encode)
    assert params._bad_words_token_ids == [[2], [3], [5, 6], [1]]
    assert params.bad_words == ["cat", " new york", "dog"]


def test_a_bad_word_without_tokens_is_refused() -> None:
    with pytest.raises(RequestError, match="has no tokens"):
        SamplingParams(bad_words=[" "]).tokenize_bad_words(lambda text: [])


def test_beam_search_params() -> None:
    params = BeamSearchParams(beam_width=4, max_tokens=8)
    assert (params.temperature, params.length_penalty, params.ignore_eos) == (0.0, 1.0, False)
    for bad in ({"beam_width": 0}, {"beam_width": 10**6}, {"max_tokens": 0}, {"length_penalty": INF}):
        with pytest.raises(RequestError, match=next(iter(bad))):
            BeamSearchParams(**({"beam_width": 4, "max_tokens": 8} | bad))
