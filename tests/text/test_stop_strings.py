"""Only a tail that may still become a stop string is held back; min_tokens lets earlier ones through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpaged.sampling_params import SamplingParams
from jaxpaged.text.detokenizer import Detokenizer
from jaxpaged.text.stop_strings import StopStrings
from tests.text.test_detokenizer import BYTE_LEVEL, byte_ids, first_stop


def may_become_a_stop(text: str, stops: list[str]) -> str:
    """The longest end of a text with which a stop string begins."""
    ends = (text[begin:] for begin in range(len(text)))
    return next((end for end in ends if any(stop.startswith(end) and stop != end for stop in stops)), "")


@given(
    pieces=st.lists(st.text(alphabet="ab", max_size=4), max_size=12),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=6), min_size=1, max_size=3),
    include=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_nothing_more_is_held_back(pieces: list[str], stops: list[str], include: bool) -> None:
    found, text, shown = StopStrings(stops, include=include), "", ""
    for piece in pieces:
        text += piece
        more, stop = found.push(piece)
        shown += more
        expected = first_stop(text, stops, include=include)
        if stop is not None:
            assert (shown, stop) == expected
            return
        held = "" if include else may_become_a_stop(text, stops)
        assert (expected[1], shown + held) == (None, text)
    assert shown + found.flush() == text


def test_a_long_stop_string_that_nearly_comes_costs_little() -> None:
    """Each character is given up once: a worst case of 4,096 characters is read in steps of one."""
    stop = "a" * 2000 + "b" + "a" * 2000 + "c"
    found = StopStrings([stop])
    text = "a" * 3000 + "b" + "a" * 2000 + "d"
    shown = "".join(found.push(character)[0] for character in text)
    assert shown + found.flush() == text
    assert len(shown) == len(text)


@pytest.mark.parametrize("least", range(10))
@pytest.mark.parametrize("sizes", [[1] * 9, [4, 5], [9]])
def test_a_stop_string_counts_from_the_token_after_min_tokens(least: int, sizes: list[int]) -> None:
    """One that completes with token number min_tokens is let through; one that began earlier ends the text."""
    ids, kept, stop = byte_ids(BYTE_LEVEL, b"ab.ab.ab."), 0, None
    params = SamplingParams(stop=["b."], min_tokens=least)
    detokenizer, text = Detokenizer(BYTE_LEVEL, params), ""
    for size in sizes:
        piece = detokenizer.update(ids[:size], finished=size == len(ids))
        ids, kept, text, stop = ids[size:], kept + piece.num_tokens, text + piece.text, piece.stop
        if stop is not None:
            break
    end = next((token for token in (3, 6, 9) if token > least), None)
    assert (kept, stop) == ((end, "b.") if end else (9, None))
    assert text == ("ab.ab.ab."[: end - 2] if end else "ab.ab.ab.")
