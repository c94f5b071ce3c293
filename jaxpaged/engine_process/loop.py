"""The process that holds the engine: `python -m jaxpaged.engine_process DIRECTORY ENGINE`.

Its loop takes messages, makes one step and sends one batch. It sleeps in poll() when there is nothing to do, but for a
sign of life every second, and it ends when its parent does: the parent holds the other end of its standard input.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

import msgspec
import zmq

from jaxpaged.config import EngineConfig
from jaxpaged.engine.garbage import freeze_live_objects
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats
from jaxpaged.engine_process.calls import CallableEngine, Pause, carry_out
from jaxpaged.engine_process.protocol import (
    HEARTBEAT_SECONDS,
    Abort,
    Add,
    Answer,
    Batch,
    Call,
    Died,
    FromEngine,
    NotStarted,
    Ready,
    Refusal,
    Start,
    Stop,
    ToEngine,
    outputs_address,
    requests_address,
)
from jaxpaged.errors import ConfigError, QueueFullError, RequestError
from jaxpaged.models.custom import register_architecture

STATS_INTERVAL = 0.1  # seconds between batches that hold nothing but statistics
LINGER_MS = 2000


class StepEngine(CallableEngine, Protocol):
    """What the loop needs of jaxpaged.engine.engine.Engine."""

    info: EngineInfo

    def add(self, message: EngineRequest) -> None: ...
    def abort(self, request_ids: Iterable[int]) -> None: ...
    def step(self) -> list[EngineOutput]: ...
    def has_work(self) -> bool: ...
    def stats(self) -> EngineStats: ...


class Link:
    """The engine's ends of the two pipes."""

    def __init__(self, directory: Path) -> None:
        self._context = zmq.Context()
        self._incoming = self._context.socket(zmq.PULL)
        self._outgoing = self._context.socket(zmq.PUSH)
        for socket in (self._incoming, self._outgoing):
            socket.set_hwm(0)
        self._incoming.bind(requests_address(directory))
        self._outgoing.connect(outputs_address(directory))
        self._decoder: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
        self._encoder = msgspec.msgpack.Encoder()

    def receive(self) -> ToEngine:
        """The next message, waiting for it."""
        return self._decoder.decode(self._incoming.recv())

    def messages(self, wait: float) -> list[ToEngine]:
        """Everything that has arrived; where that is nothing, the first that comes within `wait` seconds."""
        received: list[ToEngine] = []
        while self._incoming.poll(0 if received else round(wait * 1000)):
            received.append(self.receive())
        return received

    def send(self, message: FromEngine) -> None:
        self._outgoing.send(self._encoder.encode(message))

    def close(self) -> None:
        self._context.destroy(linger=LINGER_MS)


def serve(engine: StepEngine, link: Link) -> None:
    """Step the engine until a Stop arrives. Whatever a step raises passes on: the engine's state is then unknown."""
    last_sent, pause = 0.0, Pausing()
    while True:
        messages = link.messages(0.0 if pause.lets_work(engine) else HEARTBEAT_SECONDS)
        refusals: list[Refusal] = []
        for message in messages:
            match message:
                case Add(requests):
                    refusals += [refusal for request in requests if (refusal := add(engine, request))]
                case Abort(request_ids):
                    engine.abort(request_ids)
                case Call(number, call):
                    if isinstance(call, Pause):
                        pause.set(time.monotonic(), paused=call.paused)
                        link.send(Answer(number))
                    else:
                        link.send(Answer(number, *carry_out(engine, call)))
                case Stop():
                    return
        outputs = engine.step() if pause.lets_work(engine) else []
        now = time.monotonic()
        if outputs or refusals or not pause.lets_work(engine) or now - last_sent > STATS_INTERVAL:
            link.send(Batch(outputs, refusals, pause.without(engine.stats(), now)))
            last_sent = now


@dataclass(slots=True)
class Pausing:
    """Whether the loop makes steps. `since`: when that changed last."""

    paused: bool = False
    since: float = 0.0

    def set(self, now: float, *, paused: bool) -> None:
        self.paused, self.since = paused, now

    def lets_work(self, engine: StepEngine) -> bool:
        return not self.paused and engine.has_work()

    def without(self, stats: EngineStats, now: float) -> EngineStats:
        """The engine's word, in which a pause is no time without progress."""
        stats.last_step_age = 0.0 if self.paused else min(stats.last_step_age, now - self.since)
        return stats


def add(engine: StepEngine, request: EngineRequest) -> Refusal | None:
    """Give one request to the engine. Whatever is wrong with it stays with it."""
    try:
        engine.add(request)
    except RequestError as error:
        return Refusal(request.request_id, str(error), error.param, busy=isinstance(error, QueueFullError))
    except Exception:  # noqa: BLE001 - one request must not end the others
        traceback.print_exc()
        return Refusal(request.request_id, "The engine failed to take this request.", fault=True)
    return None


def build(engine_class: str, start: Start) -> StepEngine:
    """Build the engine that `engine_class` ("module:Class") names. Raises ConfigError."""
    engine_type: Any = resolve_name(engine_class)
    config: EngineConfig = start.config
    config.validate()
    for where in start.architectures:
        register_architecture(where)
    engine: StepEngine = engine_type.build(config, progress=start.progress)
    return engine


def run(link: Link, engine_class: str) -> int:
    """Start up, serve, and tell the parent how it ended. Returns the exit code."""
    start = link.receive()
    if not isinstance(start, Start):
        return 0
    try:
        engine = build(engine_class, start)
    except ConfigError as error:
        if start.debug:
            traceback.print_exc()
        link.send(NotStarted(str(error), mistake=True))
        return 2
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        traceback.print_exc()
        link.send(NotStarted(f"The engine could not be built: {type(error).__name__}.", mistake=False))
        return 1
    freeze_live_objects()
    link.send(Ready(engine.info))
    try:
        serve(engine, link)
    except Exception as error:  # noqa: BLE001 - the parent must hear of it, whatever it is
        traceback.print_exc()
        link.send(Died(f"The engine's step failed ({type(error).__name__})."))
        return 1
    return 0


def end_with_parent(directory: Path) -> None:
    """End this process as soon as its standard input, which only the parent holds, is closed."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(1)  # the main thread may be inside a long compilation

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> int:
    directory, engine_class = Path(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent(directory)
    link = Link(directory)
    try:
        return run(link, engine_class)
    finally:
        link.close()
