"""How long a client may take to read what is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

READ_SECONDS = 2.0  # for each 48 KiB, what a pause of writing lets through


class Patience:
    """Calls `give_up` when a client has let us wait for too long: `most` seconds at a time, and less for one that is
    slow again and again. Each wait that ends gives READ_SECONDS back, so 24 KiB a second are always enough."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[], object], most: float) -> None:
        self._loop = loop
        self._give_up = give_up
        self._most = self._left = most
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wait(self) -> None:
        """Nothing can be written until end()."""
        if self._timer is None:
            self._began = self._loop.time()
            self._timer = self._loop.call_later(max(0.0, self._left), self._give_up)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left = min(self._most, self._left - (self._loop.time() - self._began) + READ_SECONDS)

    def renew(self) -> None:
        """A new answer begins."""
        self._left = self._most
