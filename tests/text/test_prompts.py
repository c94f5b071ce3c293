"""Every form of a prompt is understood, and every other is refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpaged.errors import RequestError
from jaxpaged.text.prompts import Prompt, parse_prompt, prompt_list


@pytest.mark.parametrize(
    ("given", "batch"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([np.int32(1)], [[np.int32(1)]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ({"prompt": "a"}, [{"prompt": "a"}]),
        (["a", [1], {"prompt_token_ids": [2]}], ["a", [1], {"prompt_token_ids": [2]}]),
        ([], []),
    ],
)
def test_one_prompt_or_many(given, batch) -> None:
    assert prompt_list(given) == batch


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("a", Prompt(text="a")),
        ([1, 2], Prompt(token_ids=[1, 2])),
        (np.array([1, 2]), Prompt(token_ids=[1, 2])),
        ({"prompt": "a", "cache_salt": "s"}, Prompt(text="a", cache_salt="s")),
        ({"prompt_token_ids": [1], "prompt": "a"}, Prompt(text="a", token_ids=[1])),
    ],
)
def test_forms(given, parsed) -> None:
    assert parse_prompt(given) == parsed


def test_embeddings_become_float32() -> None:
    parsed = parse_prompt({"prompt_embeds": np.ones((3, 4), np.float64)})
    assert parsed.embeds is not None
    assert parsed.embeds.dtype == np.float32
    assert parsed.embeds.shape == (3, 4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "not int"),
        (b"abc", "not bytes"),
        ([1.5], "integers only"),
        (["a", "b"], "integers only"),
        ({}, "needs one of"),
        ({"prompt": 3}, "must be a string"),
        ({"prompt": "a", "multi_modal_data": {}}, "no multi_modal_data here"),
        ({"prompt": "a", "cache_salt": ""}, "1 to 128"),
        ({"prompt": "a", "cache_salt": "x" * 129}, "1 to 128"),
        ({"prompt_embeds": np.ones(3)}, "1 dimensions"),
        ({"prompt_embeds": np.full((1, 2), np.nan)}, "not finite"),
        ({"prompt_embeds": "abc"}, "not an array of numbers"),
        ({"prompt_embeds": np.array([[{}]])}, "not an array of numbers"),
    ],
)
def test_other_forms_are_refused(given, says) -> None:
    with pytest.raises(RequestError, match=says):
        parse_prompt(given)
