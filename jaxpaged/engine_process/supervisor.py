"""An engine that is started again when it dies.

RUNNING --it dies--> BACKING_OFF --the delay is over--> STARTING --it is ready--> RUNNING
                      |       ^----------it fails---------'
                      '--no restart is left--> DEAD       (and from everywhere after close())
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo, EngineRequest
from jaxpaged.engine_process.calls import EngineCall
from jaxpaged.engine_process.process import EngineProcess, RunningEngine
from jaxpaged.engine_process.protocol import Answer, Batch
from jaxpaged.errors import ConfigError, EngineDeadError, EngineRestartingError

log = logging.getLogger("jaxpaged")


class EngineState(Enum):
    """The states of the diagram above."""

    RUNNING = "running"
    BACKING_OFF = "backing off"
    STARTING = "starting"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """At most `most` restarts within any `window` seconds; the delay before each doubles from the first one's."""

    most: int = 0
    window: float = 600.0
    first_delay: float = 0.5
    longest_delay: float = 30.0

    def delay(self, recent: int) -> float:
        """Seconds to wait when there have been `recent` restarts within the window."""
        return min(self.first_delay * 2.0**recent, self.longest_delay)


class RestartBudget:
    """The restarts of the last window. `clock` is monotonic, in seconds."""

    def __init__(self, policy: RestartPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._taken: deque[float] = deque()

    def left(self) -> int:
        """Restarts that may still be taken."""
        while self._taken and self._clock() - self._taken[0] >= self._policy.window:
            self._taken.popleft()
        return self._policy.most - len(self._taken)

    def take(self) -> float | None:
        """Take one: how long to wait before it. None when there is none."""
        if self.left() <= 0:
            return None
        delay = self._policy.delay(len(self._taken))
        self._taken.append(self._clock())
        return delay


class EngineSupervisor:
    """An EngineClient in front of one engine after another.

    `start` blocks until an engine is ready; it gives up with EngineDeadError once its argument is set. The constructor
    starts the first engine and raises what `start` raises: a first start that fails is not tried again.
    """

    def __init__(
        self,
        start: Callable[[threading.Event], RunningEngine],
        policy: RestartPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._budget = RestartBudget(policy, clock)
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="engine-restart")
        self.num_restarts = 0
        self.state = EngineState.STARTING
        self._engine = start(self._closing)
        self.state = EngineState.RUNNING

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def add(self, requests: Sequence[EngineRequest]) -> None:
        self._engine.add(requests)

    def abort(self, request_ids: Sequence[int]) -> None:
        self._engine.abort(request_ids)

    def call(self, number: int, call: EngineCall) -> None:
        self._engine.call(number, call)

    def kill(self) -> None:
        self._engine.kill()

    async def receive(self) -> Batch | Answer:
        """The next batch, or answer to a call.

        Raises EngineRestartingError when restart() is worth a try, else EngineDeadError.
        """
        try:
            return await self._engine.receive()
        except EngineDeadError as error:
            if self._closing.is_set() or self._budget.left() <= 0:
                self.state = EngineState.DEAD
                raise
            self.state = EngineState.BACKING_OFF
            raise EngineRestartingError(str(error)) from error

    async def restart(self) -> None:
        """Start another engine, after a delay, until one runs. Raises EngineDeadError when no restart is left."""
        self._engine.detach()
        self._engine.kill()
        await self._in_thread(self._engine.close)
        while (delay := self._budget.take()) is not None:
            self.state = EngineState.BACKING_OFF
            log.warning("the engine starts again in %.1f s (%d more restarts are left)", delay, self._budget.left())
            await asyncio.sleep(delay)
            self.state = EngineState.STARTING
            try:
                self._engine = await self._in_thread(lambda: self._start(self._closing))
            except (ConfigError, EngineDeadError) as error:
                log.error("the engine did not start again: %s", error)
                continue
            self.state = EngineState.RUNNING
            self.num_restarts += 1
            log.warning("the engine runs again")
            return
        self.state = EngineState.DEAD
        raise EngineDeadError("The engine has died too often; it will not be started again.")

    def close(self) -> None:
        """End the engine, or the start of one."""
        self.state = EngineState.DEAD
        self._closing.set()
        self._engine.close()
        self._threads.shutdown(wait=False)

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@dataclass(frozen=True, slots=True)
class EngineStart:
    """Starts an engine process."""

    config: EngineConfig
    engine: str
    progress: bool
    debug: bool

    def __call__(self, given_up: threading.Event) -> EngineProcess:
        return EngineProcess(
            self.config, engine=self.engine, progress=self.progress, debug=self.debug, given_up=given_up
        )
