"""A list of ids with several mistakes names them all, or the first few."""

from __future__ import annotations

import pytest

from jaxpaged import RequestError, SamplingParams


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        ({"x": 1}, "logit_bias has the key 'x', which is no token id."),
        ({"x": 1, "5": 1, "-2": 1}, "logit_bias has keys that are no token ids: 'x', '-2'."),
        ({f"k{index}": 1 for index in range(7)}, "'k0', 'k1', 'k2', 'k3', 'k4' and 2 more."),
    ],
)
def test_keys_that_are_no_ids(bias: dict, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingParams(logit_bias=bias)
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize("field", ["logit_bias", "stop_token_ids", "allowed_token_ids"])
def test_ids_outside_the_vocabulary(field: str) -> None:
    ids = [7, 100, 200]
    params = SamplingParams(**{field: dict.fromkeys(ids, 1.0) if field == "logit_bias" else ids})
    with pytest.raises(RequestError, match=r"has token ids 100, 200, which are not in the vocabulary \(0 to 99\)"):
        params.validate(vocab_size=100, max_model_len=10, max_logprobs=5)
