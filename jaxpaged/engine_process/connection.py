"""A front end's life with an engine: messages come in, calls are answered, deaths and restarts are noticed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol

from jaxpaged.engine.messages import EngineOutput, EngineStats
from jaxpaged.engine_process.calls import CallResult, EngineCall, Pause
from jaxpaged.engine_process.process import EngineClient
from jaxpaged.engine_process.protocol import HEARTBEAT_SECONDS, Answer, Batch, Refusal
from jaxpaged.errors import EngineDeadError, EngineRestartingError, JaxPagedError

log = logging.getLogger("jaxpaged")
DEFAULT_STEP_TIMEOUT = 60.0
MISSED_HEARTBEATS = 10  # of an engine without work, after which it counts as stuck
STUCK = 2.0  # an engine without a step for so many step timeouts is killed: it would not come back by itself


class EngineUser(Protocol):
    """Who owns the requests that the engine works on."""

    def is_waiting(self) -> bool:
        """Whether some request has not ended."""
        ...

    async def take(self, outputs: Sequence[EngineOutput], stats: EngineStats, now: float) -> None:
        """Outputs of a turn of the engine have come, at `now` on the monotonic clock."""
        ...

    def refuse(self, engine_id: int, error: JaxPagedError) -> None:
        """The engine would not take a sequence."""
        ...

    def lose(self, error: EngineDeadError) -> None:
        """The engine has died, and the requests with it."""
        ...

    def revive(self) -> None:
        """Another engine runs; it knows nothing of the one before."""
        ...


class EngineConnection:
    """Takes what comes from a client, for a user. Belongs to one event loop. `sleep` is asyncio's.

    An engine that works must make steps; one that does not must send a sign of life now and then. Signs that are missed
    are counted by turns of this loop, so a process that has stood still itself blames nobody.
    """

    def __init__(
        self, client: EngineClient, user: EngineUser, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.step_timeout = DEFAULT_STEP_TIMEOUT
        self.dead: EngineDeadError | None = None
        self.paused = False
        self._client = client
        self._user = user
        self._stats = EngineStats()
        self._last_batch = time.monotonic()
        self._receiving: asyncio.Task[None] | None = None
        self._watching: tuple[asyncio.Task[None], ...] = ()
        self._sleep = sleep
        self._missed = 0
        self._unanswered: set[int] = set()  # calls that the engine has not answered, whoever waits for them
        self._closing = False
        self._call_numbers = count(1)
        self._calls: dict[int, asyncio.Future[CallResult]] = {}

    def begin(self) -> None:
        """Receive from now on. Needs a running event loop."""
        if self._receiving is None:
            self._receiving = asyncio.get_running_loop().create_task(self._receive(), name="engine-outputs")
        if not self._user.is_waiting():
            self._last_batch = time.monotonic()

    def watch(self) -> None:
        """Notice from now on, requests or not, when the engine dies or gets stuck. Needs a running event loop."""
        self.begin()
        if not self._watching:
            loop = asyncio.get_running_loop()
            self._watching = (
                loop.create_task(self._watch_steps(), name="engine-steps"),
                loop.create_task(self._count_heartbeats(), name="engine-heartbeats"),
            )

    async def call(self, call: EngineCall) -> CallResult:
        """Have the engine do something; what was sent before comes first.

        Raises RequestError and ConfigError as the engine does, and EngineDeadError when it dies meanwhile.
        """
        self.check_alive()
        self.begin()
        number = next(self._call_numbers)
        answer: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._unanswered.add(number)
        try:
            self._client.call(number, call)
            return await answer
        finally:
            del self._calls[number]

    async def pause(self, *, paused: bool) -> None:
        """Have the engine make no steps, or steps again. Raises EngineDeadError."""
        await self.call(Pause(paused))
        self.paused, self._last_batch = paused, time.monotonic()
        self._stats = replace(self._stats, last_step_age=0.0)

    def check_alive(self) -> None:
        """Raise what has ended the engine."""
        if self.dead is not None:
            raise self.dead

    def check_health(self) -> None:
        """Raise EngineDeadError when the engine is dead or stuck."""
        self.check_alive()
        if self._is_silent():
            raise EngineDeadError(
                f"The engine has given no sign of life for {self._missed * HEARTBEAT_SECONDS:.0f} seconds."
            )
        if not self.is_healthy():
            raise EngineDeadError(f"The engine has made no step for {self.stats().last_step_age:.0f} seconds.")

    def stats(self) -> EngineStats:
        """The engine's last word about itself; `last_step_age` as seen from here, so that silence counts.

        But not while a call is carried out or the engine is paused: no step is made then.
        """
        age = self._stats.last_step_age
        if not self.paused and self._user.is_waiting() and not self._unanswered:
            age = max(age, time.monotonic() - self._last_batch)
        return replace(self._stats, last_step_age=age)

    def is_healthy(self) -> bool:
        """The engine is alive and, while requests wait for it, has made a step within `step_timeout` seconds."""
        return self.dead is None and not self._is_silent() and self.stats().last_step_age <= self.step_timeout

    def close(self) -> None:
        """End the engine; whatever waits for it gets EngineDeadError."""
        for task in (self._receiving, *self._watching):
            if task is not None and not task.get_loop().is_closed():
                task.cancel()
        self._closing = True
        self._lose(EngineDeadError("The engine has been shut down."))
        self._client.close()

    async def _receive(self) -> None:
        """Take messages from one engine after another, until none follows."""
        try:
            while True:
                try:
                    while True:
                        await self._take(await self._client.receive())
                except EngineRestartingError as error:
                    self._lose(error)
                    await self._client.restart()
                    self._revive()
        except EngineDeadError as error:
            self._lose(error)

    async def _take(self, message: Batch | Answer) -> None:
        now = self._last_batch = time.monotonic()
        self._missed = 0
        if isinstance(message, Batch):
            self._stats = message.stats
            await self._take_batch(message, now)
            return
        self._unanswered.discard(message.number)
        answer = self._calls.get(message.number)
        if answer is None or answer.done():  # nobody waits for it any more
            return
        if message.error is not None:
            answer.set_exception(message.error.exception())
        else:
            answer.set_result(message.result)

    async def _take_batch(self, batch: Batch, now: float) -> None:
        """Some sequences are refused after the engine has taken them: their outputs say so."""
        late = [Refusal(one.request_id, one.error or "", one.refused) for one in batch.outputs if one.refused]
        for refusal in [*batch.refusals, *late]:
            self._user.refuse(refusal.request_id, refusal.exception())
        outputs = [output for output in batch.outputs if not output.refused] if late else batch.outputs
        await self._user.take(outputs, batch.stats, now)

    async def _watch_steps(self) -> None:
        while True:
            interval, began = self.step_timeout / 4, time.monotonic()
            await asyncio.sleep(interval)
            if time.monotonic() - began > 2 * interval:  # this process stood still: read the engine's messages first
                continue
            age = self.stats().last_step_age
            if self.dead is None and age > STUCK * self.step_timeout:
                log.error("the engine has made no step for %.0f s: it is killed", age)
                self._client.kill()

    async def _count_heartbeats(self) -> None:
        """An engine without work that is silent for as long as a stuck one may be is killed as that is."""
        while True:
            await self._sleep(HEARTBEAT_SECONDS)
            if not (self._unanswered or self.dead) and (self.paused or not self._user.is_waiting()):
                self._missed += 1
            elif not self._is_silent():  # its work takes it longer
                self._missed = 0
            if self._is_silent() and self._missed * HEARTBEAT_SECONDS > STUCK * self.step_timeout:
                log.error(
                    "the engine has given no sign of life for %.0f s: it is killed", self._missed * HEARTBEAT_SECONDS
                )
                self._missed = 0
                self._client.kill()

    def _is_silent(self) -> bool:
        return self._missed >= MISSED_HEARTBEATS

    def _lose(self, error: EngineDeadError) -> None:
        if not self._closing:
            log.error("%s", error)
        self.dead = error
        self._unanswered.clear()
        self._user.lose(error)
        for answer in self._calls.values():
            if not answer.done() and not answer.get_loop().is_closed():
                answer.set_exception(error)

    def _revive(self) -> None:
        self._stats, self._last_batch, self.dead, self._missed = EngineStats(), time.monotonic(), None, 0
        self.paused = False
        self._user.revive()
