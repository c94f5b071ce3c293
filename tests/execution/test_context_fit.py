"""The context that fits: the longest, in whole pages, or none."""

import pytest

from jaxpaged.execution.context_fit import LEAST, longest_that_fits


@pytest.mark.parametrize("step", [16, 32, 64])
@pytest.mark.parametrize("limit", [LEAST, 300, 1000, 4096, 4095, 100_000])
def test_it_is_the_longest_multiple_that_fits(limit: int, step: int) -> None:
    found = longest_that_fits(lambda tokens: tokens <= limit, 100_000, step)
    assert found == min(limit, 99_999) // step * step


def test_it_is_always_shorter_than_what_did_not_fit() -> None:
    assert longest_that_fits(lambda tokens: True, 1024, 32) == 992


def test_too_little_is_nothing() -> None:
    assert longest_that_fits(lambda tokens: tokens < LEAST, 4096, 32) is None
    assert longest_that_fits(lambda tokens: False, 4096, 32) is None
    assert longest_that_fits(lambda tokens: True, 32, 32) is None
