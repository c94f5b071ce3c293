"""AsyncLLM: the engine in a process of its own, requests as asynchronous streams."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING, Any, Self

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo, EngineStats
from jaxpaged.engine_process.process import ENGINE, EngineClient
from jaxpaged.engine_process.protocol import Batch, Refusal
from jaxpaged.engine_process.supervisor import EngineStart, EngineSupervisor, RestartPolicy
from jaxpaged.errors import (
    ConfigError,
    EngineDeadError,
    EngineRestartingError,
    JaxPagedError,
    QueueFullError,
    RequestError,
    ShuttingDownError,
)
from jaxpaged.frontend.amount import chat_characters, prompt_characters
from jaxpaged.frontend.input_processor import InputProcessor, PreparedRequest
from jaxpaged.frontend.metrics import EngineMetrics
from jaxpaged.frontend.model_files import FrontEnd, read_front_end
from jaxpaged.frontend.observation import RequestObserver, current_observer
from jaxpaged.frontend.output_processor import OutputProcessor, Processed
from jaxpaged.frontend.output_stream import OutputStream
from jaxpaged.hub.model_directory import resolve_model, resolve_tokenizer
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from jaxpaged.structured.checker import GrammarChecker
from jaxpaged.text.chat_template import ChatOptions, Message, RenderedChat, render_chat
from jaxpaged.text.prompts import PromptType, TokensPrompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger("jaxpaged")
LONGEST_INLINE = 4096  # characters that are tokenized on the event loop: about a millisecond
DEFAULT_STEP_TIMEOUT = 60.0
STUCK = 2.0  # an engine without a step for so many step timeouts is killed: it would not come back by itself
OUTPUTS_A_TURN = 64  # of the event loop: where hundreds of streams begin, go on or end together, others are not held up


@dataclass(slots=True)
class _InFlight:
    prepared: PreparedRequest
    stream: OutputStream
    observer: RequestObserver | None


class AsyncLLM:
    """A model behind an event loop. The constructor blocks until the engine is ready; call it before the loop.

        llm = AsyncLLM(EngineConfig(model=ModelConfig("Qwen/Qwen3-0.6B")))
        async for output in llm.generate("The capital of France is", SamplingParams(max_tokens=8)):
            print(output.outputs[0].text)

    `engine` names the class that the engine process builds ("module:Class"); `restarts` says how often it is started
    again when it dies: by default, never. Raises ConfigError for what the user can mend. All methods belong to one
    event loop.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        *,
        chat_template: str | None = None,
        engine: str = ENGINE,
        restarts: RestartPolicy | None = None,
        progress: bool = True,
        debug: bool = False,
    ) -> None:
        config = config or EngineConfig()
        config.validate()
        if config.logits_processors:
            raise ConfigError("logits_processors cannot cross into the engine process; use LLM for them.")
        directory, tokenizer = resolve_model(config.model), resolve_tokenizer(config.model)
        tokenizer_path = None if tokenizer is None else str(tokenizer)
        local = replace(config.model, model=str(directory), tokenizer=tokenizer_path, revision=None)
        with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as pool:
            front_end = pool.submit(read_front_end, config.model, directory, tokenizer, chat_template=chat_template)
            start = EngineStart(replace(config, model=local), engine, progress, debug)
            client = EngineSupervisor(start, restarts or RestartPolicy())
            try:
                self._connect(client, front_end.result(), config)
            except BaseException:
                client.close()
                raise

    @classmethod
    def from_client(cls, client: EngineClient, front_end: FrontEnd, config: EngineConfig) -> Self:
        """Put an AsyncLLM in front of an engine that already runs."""
        llm = cls.__new__(cls)
        llm._connect(client, front_end, config)
        return llm

    def _connect(self, client: EngineClient, front_end: FrontEnd, config: EngineConfig) -> None:
        self.config = config
        self.step_timeout = DEFAULT_STEP_TIMEOUT
        self._client = client
        self._front_end = front_end
        self._input = InputProcessor(config, client.info, front_end)
        self._output = OutputProcessor(front_end.vocabulary)
        self._in_flight: dict[str, _InFlight] = {}
        self._sequences = 0
        self._capacity = client.info.max_num_seqs + config.scheduler.max_queued_requests
        self._dead: EngineDeadError | None = None
        self._accepting = True
        self._stats = EngineStats()
        self._last_batch = time.monotonic()
        self._receiving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        # one thread, and no short cut past it while it works: transformers changes a tokenizer's settings between calls
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._long_texts = 0
        self._grammars = GrammarChecker()
        self.metrics = EngineMetrics(client.info, self.model_name, self.stats)

    @property
    def info(self) -> EngineInfo:
        """What start-up decided."""
        return self._client.info

    @property
    def model_name(self) -> str:
        """The name that clients know the model by."""
        model = self.config.model
        return model.served_model_name or model.model or "jaxpaged-demo"

    @property
    def sampling_defaults(self) -> Mapping[str, Any]:
        """The SamplingParams fields that the model's generation_config.json sets."""
        return self._front_end.generation.sampling

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        """The Hugging Face tokenizer. Raises RequestError with skip_tokenizer_init."""
        if self._front_end.tokenizer is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self._front_end.tokenizer

    async def generate(
        self,
        prompt: PromptType,
        sampling_params: SamplingParams | None = None,
        request_id: str | None = None,
        *,
        priority: int = 0,
    ) -> AsyncIterator[RequestOutput]:
        """Complete one prompt; outputs come as sampling_params.output_kind says.

        Leaving the iteration early, or cancelling its task, aborts the request. Raises RequestError (QueueFullError
        when a retry may succeed) and EngineDeadError.
        """
        prepared = await self.prepare(prompt, sampling_params, request_id, priority=priority)
        async for output in self._iterate(prepared):
            yield output

    async def chat(
        self,
        messages: Sequence[Message],
        sampling_params: SamplingParams | None = None,
        request_id: str | None = None,
        *,
        options: ChatOptions | None = None,
        priority: int = 0,
    ) -> AsyncIterator[RequestOutput]:
        """Answer a conversation; otherwise like generate()."""
        chat = await self.render(messages, options)
        prompt = TokensPrompt(prompt_token_ids=chat.token_ids, prompt=chat.prompt)
        prepared = await self.prepare(prompt, sampling_params, request_id, priority=priority)
        async for output in self._iterate(prepared):
            yield output

    async def prepare(
        self,
        prompt: PromptType,
        params: SamplingParams | None = None,
        request_id: str | None = None,
        *,
        beam: BeamSearchParams | None = None,
        priority: int = 0,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> PreparedRequest:
        """Validate and tokenize a prompt; a long one in a thread. Raises RequestError.

        With `beam` its completions are the answers of a beam search, which come at its end, the best first.
        """
        if params is not None:
            await self._grammars.check_soon(params)
        work = partial(
            self._input.process,
            request_id or _new_id(),
            prompt,
            params,
            beam=beam,
            priority=priority,
            tokenization_kwargs=tokenization_kwargs,
        )
        return await self._maybe_in_thread(prompt_characters(prompt), work)

    async def render(self, messages: Sequence[Message], options: ChatOptions | None = None) -> RenderedChat:
        """A conversation as the prompt that the model sees; a long one in a thread. Raises RequestError."""
        work = partial(render_chat, self.get_tokenizer(), messages, options)
        return await self._maybe_in_thread(chat_characters(messages), work)

    async def encode_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; a long one in a thread."""
        work = partial(self.get_tokenizer().encode, text, add_special_tokens=add_special_tokens)
        return await self._maybe_in_thread(len(text), work)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included. Raises RequestError with skip_tokenizer_init."""
        if self._front_end.vocabulary is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self._front_end.vocabulary.decode(token_ids)

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """Each token id as the tokenizer spells it."""
        return list(self.get_tokenizer().convert_ids_to_tokens(list(token_ids)))

    def submit(self, batch: Sequence[PreparedRequest]) -> OutputStream:
        """Give prepared requests to the engine; their outputs come in one stream. Needs a running event loop.

        Raises QueueFullError and EngineDeadError.
        """
        self.check_capacity(sum(len(prepared.children) for prepared in batch))
        self._check_ids([prepared.request_id for prepared in batch])
        self._receive_batches()
        if not self._in_flight:
            self._last_batch = time.monotonic()
        deltas = all(prepared.params.output_kind is RequestOutputKind.DELTA for prepared in batch)
        stream = OutputStream([prepared.request_id for prepared in batch], self._abort, deltas=deltas)
        observer = current_observer.get()
        for prepared in batch:
            self._output.add(prepared)
            self._in_flight[prepared.request_id] = _InFlight(prepared, stream, observer)
            self.metrics.note_added(prepared)
            if observer is not None:
                observer.submitted(prepared)
            self._sequences += len(prepared.children)
        self._client.add([prepared.message for prepared in batch])
        return stream

    def check_capacity(self, sequences: int = 1) -> None:
        """Raise what submit() would raise now for so many sequences: QueueFullError or EngineDeadError."""
        if self._dead is not None:
            raise self._dead
        if not self._accepting:
            raise ShuttingDownError("The server is shutting down.")
        if self._sequences + sequences > self._capacity:
            self.metrics.rejected += 1
            raise QueueFullError("The server's queue is full; try again later.")

    def _check_ids(self, request_ids: Sequence[str]) -> None:
        """A caller's id is in use once at a time, in one batch too."""
        for place, request_id in enumerate(request_ids):
            if request_id in self._in_flight or request_id in request_ids[:place]:
                raise RequestError(f"A request with the id {request_id!r} is in flight.", "request_id")

    async def abort(self, request_id: str | Sequence[str]) -> None:
        """End requests; their streams get a last output with the finish_reason "abort"."""
        ids = [request_id] if isinstance(request_id, str) else list(request_id)
        self._deliver(self._heeded(self._output.abort(ids)), time.monotonic())

    def stop_accepting(self) -> None:
        """Refuse new requests from now on (QueueFullError); those in flight go on."""
        self._accepting = False

    def abort_all(self) -> None:
        """End every request, as abort() does."""
        self._deliver(self._heeded(self._output.abort(list(self._in_flight))), time.monotonic())

    def watch(self) -> None:
        """Notice from now on, requests or not, when the engine dies or gets stuck. Needs a running event loop."""
        self._receive_batches()
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch_steps(), name="engine-steps")

    @property
    def is_running(self) -> bool:
        """False while the engine is dead."""
        return self._dead is None

    @property
    def is_accepting(self) -> bool:
        """False after stop_accepting()."""
        return self._accepting

    def num_in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._in_flight)

    def is_healthy(self) -> bool:
        """The engine is alive and, while requests wait for it, has made a step within `step_timeout` seconds."""
        return self._dead is None and self.stats().last_step_age <= self.step_timeout

    def check_health(self) -> None:
        """Raise EngineDeadError when the engine is dead or stuck."""
        if self._dead is not None:
            raise self._dead
        if not self.is_healthy():
            raise EngineDeadError(f"The engine has made no step for {self.stats().last_step_age:.0f} seconds.")

    def stats(self) -> EngineStats:
        """The engine's last word about itself; `last_step_age` as seen from here, so that silence counts."""
        age = self._stats.last_step_age
        if self._in_flight:
            age = max(age, time.monotonic() - self._last_batch)
        return replace(self._stats, last_step_age=age)

    def shutdown(self) -> None:
        """End the engine process. Requests in flight end with EngineDeadError."""
        for task in (self._receiving, self._watching):
            if task is not None and not task.get_loop().is_closed():
                task.cancel()
        self._accepting = False
        self._lose(EngineDeadError("The engine has been shut down."))
        self._tokenizing.shutdown(wait=False, cancel_futures=True)
        self._grammars.close()
        self._client.close()

    async def _iterate(self, prepared: PreparedRequest) -> AsyncIterator[RequestOutput]:
        stream = self.submit([prepared])
        try:
            while outputs := await stream.take():
                if prepared.params.output_kind is RequestOutputKind.CUMULATIVE:
                    outputs = outputs[-1:]
                for output in outputs:
                    yield output
        finally:
            stream.close()

    async def _maybe_in_thread[T](self, characters: int, work: Callable[[], T]) -> T:
        """Run `work` here if it is short and the tokenizer's thread idle, else in that thread."""
        if characters <= LONGEST_INLINE and not self._long_texts:
            return work()
        self._long_texts += 1
        job = asyncio.get_running_loop().run_in_executor(self._tokenizing, work)
        job.add_done_callback(lambda _: self._long_text_done())
        return await job

    def _long_text_done(self) -> None:
        self._long_texts -= 1

    def _receive_batches(self) -> None:
        if self._receiving is None:
            self._receiving = asyncio.get_running_loop().create_task(self._receive(), name="engine-outputs")

    async def _receive(self) -> None:
        """Take batches from one engine after another, until none follows."""
        try:
            while True:
                try:
                    await self._take_batches()
                except EngineRestartingError as error:
                    self._lose(error)
                    await self._client.restart()
                    self._revive()
        except EngineDeadError as error:
            self._lose(error)

    async def _take_batches(self) -> None:
        while True:
            outputs, now = self._take(await self._client.receive())
            for part in batched(outputs, OUTPUTS_A_TURN):
                self._deliver(part, now)
                await asyncio.sleep(0)  # a receive() that has something does not yield by itself

    async def _watch_steps(self) -> None:
        while True:
            interval, began = self.step_timeout / 4, time.monotonic()
            await asyncio.sleep(interval)
            if time.monotonic() - began > 2 * interval:  # it was this process that stood still: hear the engine first
                continue
            age = self.stats().last_step_age
            if self._dead is None and age > STUCK * self.step_timeout:
                log.error("the engine has made no step for %.0f s: it is killed", age)
                self._client.kill()

    def _take(self, batch: Batch) -> tuple[Sequence[RequestOutput], float]:
        """What a step has brought, still to be delivered, and when it came."""
        now = self._last_batch = time.monotonic()
        self._stats = batch.stats
        self.metrics.note_step(batch.outputs, batch.stats, now)
        for refusal in batch.refusals:
            self._refuse(refusal)
        outputs = batch.outputs
        if any(output.refused for output in outputs):
            for output in outputs:
                if output.refused:
                    self._refuse(Refusal(output.request_id, output.error or "", output.refused))
            outputs = [output for output in outputs if not output.refused]
        return self._heeded(self._output.process(outputs)), now

    def _heeded(self, processed: Processed) -> Sequence[RequestOutput]:
        """Its outputs, when the engine has been told what it must end."""
        if processed.abort and self._dead is None:
            self._client.abort(processed.abort)
        return processed.outputs

    def _deliver(self, outputs: Iterable[RequestOutput], now: float) -> None:
        for output in outputs:
            entry = self._in_flight.get(output.request_id)
            if entry is None:  # aborted since the step came
                continue
            if output.finished:
                self._forget(output.request_id, output, now)
            entry.stream.put(output)

    def _forget(self, request_id: str, output: RequestOutput | None, now: float, lost: str | None = None) -> None:
        """A request has ended; `lost` says why when nobody gets its last output."""
        entry = self._in_flight.pop(request_id)
        self._sequences -= len(entry.prepared.children)
        self.metrics.note_finished(entry.prepared, None if lost else output, now, lost or "abort")
        if entry.observer is not None:
            entry.observer.finished(entry.prepared, output)

    def _refuse(self, refusal: Refusal) -> None:
        """The engine would not take a sequence: that ends the stream that its request belongs to."""
        request_id = self._output.request_of(refusal.request_id)
        if request_id is None:  # given up meanwhile
            return
        entry = self._in_flight[request_id]
        error: JaxPagedError
        if refusal.fault:
            error = JaxPagedError(refusal.message)
        elif refusal.busy:
            self.metrics.rejected += 1
            error = QueueFullError(refusal.message, refusal.param)
        else:
            error = RequestError(refusal.message, refusal.param)
        entry.stream.fail(error)

    def _abort(self, request_ids: Sequence[str]) -> None:
        """A stream gives its requests up: nobody wants their last outputs."""
        processed = self._output.abort(request_ids)
        if processed.abort and self._dead is None:
            self._client.abort(processed.abort)
        lost = "abort" if self._dead is None else "error"
        last = {output.request_id: output for output in processed.outputs}
        for request_id in request_ids:
            if request_id in self._in_flight:
                self._forget(request_id, last.get(request_id), time.monotonic(), lost)

    def _lose(self, error: EngineDeadError) -> None:
        """The engine has died: its requests with it."""
        if self._accepting:
            log.error("%s", error)
        self._dead = error
        self.metrics.engine_up = 0
        for stream in {id(entry.stream): entry.stream for entry in self._in_flight.values()}.values():
            stream.fail(error)

    def _revive(self) -> None:
        """Another engine runs; it knows nothing of the one before."""
        self._stats, self._last_batch, self._dead = EngineStats(), time.monotonic(), None
        self.metrics.engine_up = 1
        self.metrics.engine_restarts += 1


def _new_id() -> str:
    return uuid.uuid4().hex
