"""The front end's handle on an engine process: spawn, handshake, messages, death, end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import zmq
import zmq.asyncio

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo, EngineRequest
from jaxpaged.engine_process.calls import EngineCall
from jaxpaged.engine_process.protocol import (
    Abort,
    Add,
    Answer,
    Batch,
    Call,
    Died,
    FromEngine,
    NotStarted,
    Ready,
    Start,
    Stop,
    ToEngine,
    outputs_address,
    requests_address,
)
from jaxpaged.errors import ConfigError, EngineDeadError
from jaxpaged.models.custom import registered

ENGINE = "jaxpaged.engine.engine:Engine"
_LONGEST_SOCKET_PATH = 100  # of the 107 bytes that Linux allows
_POLL_MS = 100
_STOP_SECONDS = 3.0
_LINGER_MS = 1000


class EngineLink(Protocol):
    """Messages to an engine, wherever it runs, and back. Sending never blocks."""

    @property
    def info(self) -> EngineInfo: ...
    def add(self, requests: Sequence[EngineRequest]) -> None: ...
    def abort(self, request_ids: Sequence[int]) -> None: ...
    def call(self, number: int, call: EngineCall) -> None: ...

    async def receive(self) -> Batch | Answer:
        """The next batch, or answer to a call. Raises EngineDeadError when there will be none."""
        ...

    def kill(self) -> None:
        """Kill it; receive() then raises EngineDeadError."""
        ...

    def close(self) -> None: ...


class RunningEngine(EngineLink, Protocol):
    """One engine, which dies once."""

    def detach(self) -> None:
        """Leave the event loop: receive() is not called again, and close() may be called in a thread."""
        ...


class EngineClient(EngineLink, Protocol):
    """What AsyncLLM needs: an engine that may come back."""

    async def restart(self) -> None:
        """After EngineRestartingError: bring the engine back. Raises EngineDeadError when it will not come."""
        ...


class EngineProcess:
    """An engine in a process of its own. The constructor returns when it is ready.

    `engine` names the class ("module:Class") whose build(config, progress=) makes it. Raises ConfigError for what the
    user can mend and EngineDeadError when it dies while it starts, or when `given_up` is set meanwhile.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        engine: str = ENGINE,
        progress: bool = True,
        debug: bool = False,
        given_up: threading.Event | None = None,
    ) -> None:
        directory = _socket_directory()
        self._closing = threading.Event()
        self._given_up = given_up or threading.Event()
        self._context = zmq.Context()
        self._outgoing = self._context.socket(zmq.PUSH)
        self._incoming = self._context.socket(zmq.PULL)
        for socket in (self._outgoing, self._incoming):
            socket.set_hwm(0)
            socket.linger = 0
        self._outgoing.connect(requests_address(directory))  # a connecting end queues until the other one binds
        self._incoming.bind(outputs_address(directory))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        command = [sys.executable, "-m", "jaxpaged.engine_process", str(directory), engine]
        # a group of its own: Ctrl-C reaches the front end only, which then ends the engine in order
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
        self._finalizer = weakref.finalize(self, _clean_up, self.process, directory)
        try:
            self._send(Start(config, progress, debug, registered()))
            self.info = self._wait_until_ready()
        except BaseException:  # it may be deep in a compilation: no use asking
            self._closing.set()
            self._finalizer()
            self._context.destroy(linger=0)
            raise
        self._receiver = zmq.asyncio.Socket.shadow(self._incoming)
        self._watcher = threading.Thread(target=self._watch, args=(directory,), name="engine-watch", daemon=True)
        self._watcher.start()

    def add(self, requests: Sequence[EngineRequest]) -> None:
        self._send(Add(list(requests)))

    def abort(self, request_ids: Sequence[int]) -> None:
        self._send(Abort(list(request_ids)))

    def call(self, number: int, call: EngineCall) -> None:
        self._send(Call(number, call))

    async def receive(self) -> Batch | Answer:
        message = self._decoder.decode(await self._receiver.recv())
        if isinstance(message, Died):
            raise EngineDeadError(message.message)
        assert isinstance(message, Batch | Answer)
        return message

    def kill(self) -> None:
        self.process.kill()

    def detach(self) -> None:
        self._closing.set()
        self._receiver.close(linger=0)

    def close(self) -> None:
        """Ask the process to end, insist after a few seconds, and forget the sockets."""
        if self._context.closed:
            return
        self._closing.set()
        if self.process.poll() is None:
            self._send(Stop())
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._finalizer()
        self._context.destroy(linger=0)

    def _send(self, message: ToEngine) -> None:
        self._outgoing.send(self._encoder.encode(message), zmq.NOBLOCK)

    def _wait_until_ready(self) -> EngineInfo:
        while True:
            ended = self.process.poll() is not None  # asked first: its last message may still be on the way
            if self._incoming.poll(_POLL_MS):
                return _info(self._decoder.decode(self._incoming.recv()))
            if self._given_up.is_set():
                raise EngineDeadError("The engine's start was given up.")
            if ended:
                raise EngineDeadError(f"The engine process {_how_it_ended(self.process)} before it was ready.")

    def _watch(self, directory: Path) -> None:
        """When the process ends without a word, say it in its place."""
        self.process.wait()
        if self._closing.is_set():
            return
        message = Died(f"The engine process {_how_it_ended(self.process)}.")
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.linger = _LINGER_MS
            socket.connect(outputs_address(directory))
            socket.send(msgspec.msgpack.encode(message))


def _info(message: FromEngine) -> EngineInfo:
    match message:
        case Ready(info):
            return info
        case NotStarted(text, mistake=True):
            raise ConfigError(text)
        case NotStarted(text) | Died(text):
            raise EngineDeadError(text)
    raise EngineDeadError("The engine process answered before it was ready.")


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}; its messages above say why"


def _socket_directory() -> Path:
    """A new directory that only this user can enter (mkdtemp makes it 0700)."""
    directory = Path(tempfile.mkdtemp(prefix="jaxpaged-"))
    if len(str(directory)) + len("/requests") > _LONGEST_SOCKET_PATH:
        directory.rmdir()
        raise ConfigError("The temporary directory's path is too long for a socket; set TMPDIR to a shorter one.")
    return directory


def _clean_up(process: subprocess.Popen[bytes], directory: Path) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.kill()
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)
