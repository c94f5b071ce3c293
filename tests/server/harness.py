"""An AsyncLLM over tests.fake_engine.FakeEngine in this process, and the application in front of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.config import EngineConfig, ModelConfig, SchedulerConfig
from jaxpaged.engine.messages import EngineInfo, EngineRequest
from jaxpaged.engine_process.calls import EngineCall, Pause, carry_out
from jaxpaged.engine_process.loop import add
from jaxpaged.engine_process.protocol import HEARTBEAT_SECONDS, Answer, Batch
from jaxpaged.errors import EngineDeadError
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.text.vocabulary import Vocabulary
from server.app import build_app
from server.flags import ServerOptions
from tests.fake_engine import FakeEngine
from tests.text.samples import hf_tokenizer

MODEL = "fake"


class LocalClient:
    """An EngineClient that steps an engine on the event loop, as engine_process.serve() does in its process."""

    def __init__(self, engine: FakeEngine, *, delay: float = 0.0) -> None:
        self.engine = engine
        self.delay = delay
        self.closed = False
        self.paused = False
        self._refusals = []
        self._answers: list[Answer] = []
        self._changed = asyncio.Event()

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    def add(self, requests: Sequence[EngineRequest]) -> None:
        self._refusals += [refusal for request in requests if (refusal := add(self.engine, request))]
        self._changed.set()

    def abort(self, request_ids: Sequence[int]) -> None:
        self.engine.abort(request_ids)
        self._changed.set()

    def call(self, number: int, call: EngineCall) -> None:
        if isinstance(call, Pause):
            self.paused = call.paused
            self._answers.append(Answer(number))
        else:
            self._answers.append(Answer(number, *carry_out(self.engine, call)))
        self._changed.set()

    async def receive(self) -> Batch | Answer:
        if (self.paused or not self.engine.has_work()) and not self._answers:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), HEARTBEAT_SECONDS)
        if self._answers:
            return self._answers.pop(0)
        self._changed.clear()
        await asyncio.sleep(self.delay)
        try:
            outputs = self.engine.step() if self.engine.has_work() and not self.paused else []
        except RuntimeError as error:
            raise EngineDeadError(str(error)) from error
        refusals, self._refusals = self._refusals, []
        return Batch(outputs, refusals, self.engine.stats())

    def close(self) -> None:
        self.closed = True


def front_end(**sampling) -> FrontEnd:
    tokenizer = hf_tokenizer()
    return FrontEnd(tokenizer, Vocabulary(tokenizer.backend_tokenizer), GenerationConfig((), sampling))


def async_llm(engine: FakeEngine | None = None, *, delay: float = 0.0, sampling=None, **scheduler) -> AsyncLLM:
    config = EngineConfig(ModelConfig(served_model_name=MODEL), scheduler=SchedulerConfig(**scheduler))
    return AsyncLLM.from_client(LocalClient(engine or FakeEngine(), delay=delay), front_end(**sampling or {}), config)


@asynccontextmanager
async def client(
    engine: FakeEngine | None = None,
    options: ServerOptions | None = None,
    *,
    llm: AsyncLLM | None = None,
    **arguments,
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the application, in this process."""
    llm = llm or async_llm(engine, **arguments)
    transport = httpx.ASGITransport(build_app(llm, options), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http
    llm.shutdown()


def events(text: str) -> list[dict]:
    """The JSON events of a stream, without its end mark."""
    lines = [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@dataclass
class Exchange:
    """One request driven through the ASGI interface by hand, so that the client can go away."""

    app: Any
    path: str
    body: dict
    sent: list[dict] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _asked: bool = False

    async def run(self) -> None:
        content = json.dumps(self.body).encode()
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "POST",
            "scheme": "http", "path": self.path, "raw_path": self.path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json")], "client": ("test", 1), "server": ("test", 80),
        }  # fmt: skip

        async def receive() -> dict:
            if not self._asked:
                self._asked = True
                return {"type": "http.request", "body": content, "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            self.sent.append(message)

        await self.app(scope, receive, send)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until `condition` holds. Fails after `seconds`, so that a fault does not hang the suite."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        await asyncio.sleep(0.005)
