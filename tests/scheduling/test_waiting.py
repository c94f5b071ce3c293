"""The bounded, sorted queue."""

import numpy as np
import pytest

from jaxpaged.errors import InvariantError, QueueFullError
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.waiting import WaitingQueue


def request(*rank: int, tokens: int = 1) -> Request:
    made = Request(1, [1], SamplingParams(), tokens=np.zeros(tokens, np.int32))
    made.rank = (rank[0], 0.0, rank[-1])
    return made


def test_the_queue_is_in_the_order_of_rank_whatever_the_order_of_adding() -> None:
    queue = WaitingQueue(10)
    late, first, middle = request(1, 0), request(0, 1), request(0, 5)
    for waiting in (late, middle, first):
        queue.add(waiting)
    assert list(queue) == [first, middle, late]
    queue.check()


def test_removes_from_the_front_and_from_the_middle() -> None:
    queue, made = WaitingQueue(10), [request(0, i) for i in range(6)]
    for waiting in made:
        queue.add(waiting)
    queue.remove_all(made[:2])
    queue.remove_all([made[5], made[3]])
    queue.remove(made[4])
    assert list(queue) == [made[2]]
    with pytest.raises(InvariantError, match="not in the waiting queue"):
        queue.remove(made[0])


def test_a_block_holds_about_the_tokens_asked_for() -> None:
    queue, made = WaitingQueue(10), [request(0, i, tokens=5) for i in range(6)]
    for waiting in made:
        queue.add(waiting)
    assert queue.first(10, 11) == made[:3]
    assert queue.first(2, 100) == made[:2]
    assert queue.first(0, 100) == queue.first(10, 0) == []


def test_it_is_bounded() -> None:
    queue = WaitingQueue(1)
    queue.check_room()
    queue.add(request(0, 0))
    with pytest.raises(QueueFullError, match="1 requests are waiting"):
        queue.check_room()


def test_check_notices_disorder() -> None:
    queue, made = WaitingQueue(10), [request(0, 0), request(0, 1)]
    for waiting in made:
        queue.add(waiting)
    made[0].rank = (9, 0.0, 9)
    with pytest.raises(InvariantError, match="out of order"):
        queue.check()
