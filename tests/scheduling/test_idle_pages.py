"""The LRU ring against a plain list."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxpaged.scheduling.idle_pages import IdlePages


def pages(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def test_pops_in_the_order_of_arrival_and_skips_what_was_taken_out() -> None:
    idle = IdlePages(10)
    idle.push(pages(3, 1, 4))
    idle.push(pages(5, 9))
    idle.discard(pages(1, 9))
    assert len(idle) == 3
    assert idle.pop(2).tolist() == [3, 4]
    assert idle.pop(1).tolist() == [5]
    assert len(idle) == 0


def test_a_page_that_comes_back_stands_at_the_end() -> None:
    idle = IdlePages(10)
    idle.push(pages(1, 2, 3))
    idle.discard(pages(1))
    idle.push(pages(1))
    assert idle.pages().tolist() == [2, 3, 1]


@given(st.lists(st.tuples(st.sampled_from(["push", "discard", "pop"]), st.integers(1, 5)), max_size=200))
def test_behaves_as_a_list(steps: list[tuple[str, int]]) -> None:
    """Two hundred steps over twelve pages wrap the ring many times."""
    idle, model, absent = IdlePages(12), [], list(range(1, 12))
    for action, count in steps:
        if action == "push":
            moved, absent = absent[:count], absent[count:]
            idle.push(pages(*moved))
            model += moved
        else:
            count = min(count, len(model))
            moved = model[::-1][:count] if action == "discard" else model[:count]
            if action == "discard":
                idle.discard(pages(*moved))
            else:
                assert idle.pop(count).tolist() == moved
            model = [page for page in model if page not in moved]
            absent += moved
        assert idle.pages().tolist() == model
        assert len(idle) == len(model)
