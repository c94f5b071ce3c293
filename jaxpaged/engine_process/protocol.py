"""What the two ends of an engine process say to each other, and how: msgpack messages over two ZMQ pipes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats
from jaxpaged.engine_process.calls import CallError, CallResult, EngineCall
from jaxpaged.errors import JaxPagedError, QueueFullError, RequestError

HEARTBEAT_SECONDS = 1.0  # an engine without work sends a Batch without outputs so often


class Start(msgspec.Struct, tag=True):
    """To the engine, first: build yourself from this. architectures: what to register (models/custom.py)."""

    config: EngineConfig
    progress: bool
    debug: bool
    architectures: tuple[str, ...] = ()


class Add(msgspec.Struct, tag=True):
    """To the engine: sequences to generate."""

    requests: list[EngineRequest]


class Abort(msgspec.Struct, tag=True):
    """To the engine: sequences that nobody waits for any more."""

    request_ids: list[int]


class Call(msgspec.Struct, tag=True):
    """To the engine: do this; an Answer with the same number follows."""

    number: int
    call: EngineCall


class Stop(msgspec.Struct, tag=True):
    """To the engine: end."""


ToEngine = Start | Add | Abort | Call | Stop


class Ready(msgspec.Struct, tag=True):
    """From the engine, once: it is compiled and waits for requests."""

    info: EngineInfo


class NotStarted(msgspec.Struct, tag=True):
    """From the engine instead of Ready: one sentence. `mistake`: the user can correct it."""

    message: str
    mistake: bool


class Refusal(msgspec.Struct):
    """A sequence that the engine would not take. `busy` says that a retry may succeed."""

    request_id: int
    message: str
    param: str | None = None
    busy: bool = False
    fault: bool = False

    def exception(self) -> JaxPagedError:
        """What the request's caller gets."""
        if self.fault:
            return JaxPagedError(self.message)
        return (QueueFullError if self.busy else RequestError)(self.message, self.param)


class Batch(msgspec.Struct, tag=True):
    """From the engine: what one turn of its loop brought."""

    outputs: list[EngineOutput]
    refusals: list[Refusal]
    stats: EngineStats


class Answer(msgspec.Struct, tag=True):
    """From the engine: what became of a Call. Outputs of steps before it are sent before it."""

    number: int
    result: CallResult = None
    error: CallError | None = None


class Died(msgspec.Struct, tag=True):
    """From the engine, last: its step is broken and nothing that was in flight will be answered."""

    message: str


FromEngine = Ready | NotStarted | Batch | Answer | Died


def requests_address(directory: Path) -> str:
    """Where the front end pushes ToEngine messages."""
    return f"ipc://{directory}/requests"


def outputs_address(directory: Path) -> str:
    """Where the engine pushes FromEngine messages."""
    return f"ipc://{directory}/outputs"
