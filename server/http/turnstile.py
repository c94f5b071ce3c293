"""Requests that arrive together are let in some at a time, so that the event loop turns between them."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """At most `a_turn` requests pass in one turn of the event loop, in the order in which they came."""

    def __init__(self, a_turn: int) -> None:
        self._a_turn = a_turn
        self._left = a_turn
        self._turning = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Pass, at once if this turn has room."""
        self._keep_turning()
        if self._left and not self._waiting:
            self._left -= 1
            return
        passed = asyncio.get_running_loop().create_future()
        self._waiting.append(passed)
        await passed

    def _keep_turning(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """The next turn has begun. Those who have gone meanwhile (a closed connection) take no place."""
        self._turning, self._left = False, self._a_turn
        while self._waiting and self._left:
            passed = self._waiting.popleft()
            if not passed.done():
                passed.set_result(None)
                self._left -= 1
        if self._waiting:
            self._keep_turning()
