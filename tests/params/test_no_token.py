"""What forbids every token is refused before it runs, by the names of the fields that do."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.errors import RequestError
from jaxpaged.params.no_token import check_first_token, no_token_left
from jaxpaged.sampling_params import SamplingParams

EOS = (9,)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            {"allowed_token_ids": [3], "bad_words": ["x"], "_bad_words_token_ids": [[3]]},
            "allowed_token_ids and bad_words",
        ),
        ({"allowed_token_ids": [9], "min_tokens": 1}, "allowed_token_ids and min_tokens"),
        (
            {"allowed_token_ids": [3, 9], "min_tokens": 1, "stop_token_ids": [3]},
            "allowed_token_ids, min_tokens and stop_token_ids",
        ),
        ({"bad_words": ["x"], "_bad_words_token_ids": [[i] for i in range(10)]}, "bad_words"),
    ],
)
def test_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=f"^{named} (together leave|leaves) no token to generate") as caught:
        check_first_token(SamplingParams(**given), EOS, 10)
    assert caught.value.param in given


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"allowed_token_ids": [9]},
        {"allowed_token_ids": [3, 4], "_bad_words_token_ids": [[3]]},
        {"allowed_token_ids": [3], "_bad_words_token_ids": [[3, 3]]},
        {"_bad_words_token_ids": [[i] for i in range(9)]},
        {"min_tokens": 5, "stop_token_ids": list(range(8))},
    ],
)
def test_what_can_begin_is_taken(given: dict[str, Any]) -> None:
    check_first_token(SamplingParams(**given), EOS, 10)


def test_a_request_that_forbids_nothing_has_no_sentence() -> None:
    assert no_token_left(SamplingParams(stop_token_ids=[1])) is None
    assert no_token_left(SamplingParams(structured_outputs={"regex": "a"})).startswith("structured_outputs leaves")
