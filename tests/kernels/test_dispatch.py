"""The first implementation that can serve a call does; the reasons of all others are kept."""

import pytest

from pallas_kernels.dispatch import dispatch


def cannot(x: int) -> int:
    raise NotImplementedError(f"not for {x}")


def wrong(x: int) -> int:
    raise ValueError(f"x: {x} is wrong")


IMPLEMENTATIONS = {"cannot": cannot, "wrong": wrong, "double": lambda x: 2 * x, "square": lambda x: x * x}


@pytest.mark.parametrize(
    ("order", "result"), [(["double", "square"], 6), (["square"], 9), (["cannot", "square", "wrong"], 9)]
)
def test_the_first_that_can_serves(order: list[str], result: int) -> None:
    assert dispatch("op", IMPLEMENTATIONS, order, 3) == result


def test_wrong_input_is_not_passed_on_to_the_next() -> None:
    with pytest.raises(ValueError, match="x: 3 is wrong"):
        dispatch("op", IMPLEMENTATIONS, ["wrong", "double"], 3)


def test_all_refusals_are_told_together() -> None:
    with pytest.raises(ExceptionGroup, match="no implementation of op") as caught:
        dispatch("op", {**IMPLEMENTATIONS, "neither": cannot}, ["cannot", "neither"], 3)
    assert [refusal.__notes__ for refusal in caught.value.exceptions] == [
        ["implementation 'cannot' of op"],
        ["implementation 'neither' of op"],
    ]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"implementation: op has no 'fast'; choose from .*'double'"):
        dispatch("op", IMPLEMENTATIONS, ["fast"], 3)


def test_a_slower_choice_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        dispatch("told_once", IMPLEMENTATIONS, ["cannot", "square"], 3)
    assert [record.getMessage() for record in caplog.records] == ["told_once runs as square: not for 3"]
