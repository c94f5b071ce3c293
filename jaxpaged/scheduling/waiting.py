"""The bounded queue of requests without a row, always sorted by rank."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import pairwise

from jaxpaged.errors import InvariantError, QueueFullError
from jaxpaged.scheduling.request import Request

Rank = tuple[int, float, int]


def _rank(request: Request) -> Rank:
    return request.rank


class WaitingQueue:
    """Sorted list: appending, taking from the front in batches and removing by rank are all cheap."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def check_room(self, promised: int = 0) -> None:
        """Raise QueueFullError when `capacity` requests wait already, `promised` ones that will come included."""
        waiting = len(self._requests) + promised
        if waiting >= self.capacity:
            raise QueueFullError(f"{waiting} requests are waiting, the most allowed; try again later.")

    def add(self, request: Request) -> None:
        """Insert by rank. Not bounded: a preempted request was accepted long ago."""
        if not self._requests or self._requests[-1].rank < request.rank:
            self._requests.append(request)
        else:
            insort(self._requests, request, key=_rank)

    def first(self, most: int, tokens: int) -> list[Request]:
        """The first requests, at most `most`, and no more than have `tokens` tokens together, give or take one."""
        total, block = 0, []
        for request in self._requests[:most]:
            if total >= tokens:
                break
            block.append(request)
            total += len(request.tokens)
        return block

    def remove_all(self, requests: list[Request]) -> None:
        """Remove several, quickly where they are the first."""
        if self._requests[: len(requests)] == requests:
            del self._requests[: len(requests)]
        else:
            for request in requests:
                self.remove(request)

    def remove(self, request: Request) -> None:
        del self._requests[self._index(request)]

    def _index(self, request: Request) -> int:
        index = bisect_left(self._requests, request.rank, key=_rank)
        if index == len(self._requests) or self._requests[index] is not request:
            raise InvariantError(f"request {request.request_id} is not in the waiting queue")
        return index

    def check(self) -> None:
        """Raise InvariantError unless ranks are strictly increasing."""
        if any(a.rank >= b.rank for a, b in pairwise(self._requests)):
            raise InvariantError("waiting queue: out of order")
