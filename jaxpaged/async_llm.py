"""AsyncLLM: the engine in a process of its own, requests as asynchronous streams."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from jaxpaged.arguments.engine_args import EngineArgs
from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo
from jaxpaged.engine_process.connection import EngineConnection
from jaxpaged.engine_process.control import EngineControl
from jaxpaged.engine_process.process import ENGINE, EngineClient
from jaxpaged.engine_process.supervisor import EngineStart, EngineSupervisor, RestartPolicy
from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.frontend.amount import chat_characters, prompt_characters
from jaxpaged.frontend.gate import PAUSED, Gate, PauseMode
from jaxpaged.frontend.in_flight import RequestsInFlight
from jaxpaged.frontend.input_processor import InputProcessor, PreparedRequest
from jaxpaged.frontend.metrics import EngineMetrics
from jaxpaged.frontend.model_files import FrontEnd, read_front_end
from jaxpaged.frontend.observation import current_observer
from jaxpaged.frontend.output_processor import OutputProcessor
from jaxpaged.frontend.output_stream import OutputStream
from jaxpaged.frontend.text_worker import TextWorker
from jaxpaged.hub.model_directory import resolve_model, resolve_tokenizer
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.structured.checker import GrammarChecker
from jaxpaged.text.chat_template import ChatOptions, Message, RenderedChat, render_chat
from jaxpaged.text.prompts import PromptType, TokensPrompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class AsyncLLM(EngineControl):
    """A model behind an event loop. The constructor blocks until the engine is ready; call it before the loop.

        llm = AsyncLLM(EngineConfig(model=ModelConfig("Qwen/Qwen3-0.6B")))
        async for output in llm.generate("The capital of France is", SamplingParams(max_tokens=8)):
            print(output.outputs[0].text)

    `engine` names the class that the engine process builds ("module:Class"), `restarts` how often it is started again
    when it dies: by default, never. Raises ConfigError. All methods belong to one event loop.
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
        named = None if tokenizer is None else str(tokenizer)
        local = replace(config.model, model=str(directory), tokenizer=named, revision=None)
        with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as pool:
            front_end = pool.submit(read_front_end, config.model, directory, tokenizer, chat_template=chat_template)
            start = EngineStart(replace(config, model=local), engine, progress, debug)
            with ExitStack() as failing:
                client = EngineSupervisor(start, restarts or RestartPolicy())
                failing.callback(client.close)
                self._connect(client, front_end.result(), config)
                failing.pop_all()

    @classmethod
    def from_engine_args(
        cls,
        engine_args: EngineArgs,
        start_engine_loop: bool = True,
        usage_context: Any = None,
        stat_loggers: None = None,
    ) -> Self:
        """The same from vLLM's object of arguments; statistics are in `metrics`, so loggers of them are not taken."""
        if stat_loggers:
            raise ConfigError("stat_loggers cannot be had: read AsyncLLM.metrics.")
        return cls(engine_args.create_engine_config(), progress=engine_args.use_tqdm_on_load)

    @classmethod
    def from_client(cls, client: EngineClient, front_end: FrontEnd, config: EngineConfig) -> Self:
        """Put an AsyncLLM in front of an engine that already runs."""
        llm = cls.__new__(cls)
        llm._connect(client, front_end, config)
        return llm

    def _connect(self, client: EngineClient, front_end: FrontEnd, config: EngineConfig) -> None:
        self.config = config
        self.model_names = config.model.served_names("jaxpaged-demo")  # every name that clients may use
        self._client = client
        self._front_end = front_end
        self._input = InputProcessor(config, client.info, front_end)
        self._output = OutputProcessor(front_end.vocabulary)
        self._texts = TextWorker()
        self._grammars = GrammarChecker(front_end.grammar_vocabulary(client.info.vocab_size))
        self.metrics = EngineMetrics(client.info, self.model_name, self.stats, config.cache)
        capacity = client.info.max_num_seqs + config.scheduler.max_queued_requests
        self._requests = RequestsInFlight(self._output, self.metrics, client.abort, capacity)
        self._connection = EngineConnection(client, self._requests)
        self._gate = Gate(client.add, self._requests.is_wanted)

    @property
    def info(self) -> EngineInfo:
        """What start-up decided."""
        return self._client.info

    @property
    def model_name(self) -> str:
        """The name that stands in answers and metrics."""
        return self.model_names[0]

    @property
    def sampling_defaults(self) -> Mapping[str, Any]:
        """The SamplingParams fields that the model's generation_config.json sets."""
        return self._front_end.generation.sampling

    def use_reasoning_marks(self, begins: Sequence[str], ends: Sequence[str]) -> None:
        """What a thought begins and ends with, in all spellings, where reasoning_config does not say it."""
        self._input.use_reasoning_marks(begins, ends)

    @property
    def limits_thoughts(self) -> bool:
        """Whether a request may have a thinking_token_budget: the marks around a thought are known."""
        return self._input.limits_thoughts

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        """The Hugging Face tokenizer. Raises RequestError with skip_tokenizer_init."""
        return self._front_end.need_tokenizer()

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
        async for output in self.submit([prepared]).each(prepared.params.output_kind):
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
        async for output in self.submit([prepared]).each(prepared.params.output_kind):
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
        thought_opened: bool | None = None,
    ) -> PreparedRequest:
        """Validate and tokenize a prompt; a long one in a thread. Raises RequestError.

        With `beam` its completions are the answers of a beam search, which come at its end, the best first.
        `thought_opened`: whether the answer begins within a thought; None: as the marks in the prompt say.
        """
        if params is not None:
            await self._grammars.check_soon(params)
        keywords: dict[str, Any] = {"beam": beam, "priority": priority, "tokenization_kwargs": tokenization_kwargs}
        keywords["thought_opened"] = thought_opened
        work = partial(self._input.process, request_id or uuid.uuid4().hex, prompt, params, **keywords)
        return await self._texts.run(prompt_characters(prompt), work)

    async def render(self, messages: Sequence[Message], options: ChatOptions | None = None) -> RenderedChat:
        """A conversation as the prompt that the model sees; a long one in a thread. Raises RequestError."""
        work = partial(render_chat, self.get_tokenizer(), messages, options)
        return await self._texts.run(chat_characters(messages, options), work)

    async def encode_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; a long one in a thread."""
        work = partial(self.get_tokenizer().encode, text, add_special_tokens=add_special_tokens)
        return await self._texts.run(len(text), work)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included. Raises RequestError with skip_tokenizer_init."""
        return self._front_end.decode(token_ids)

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """Each token id as the tokenizer spells it."""
        return list(self.get_tokenizer().convert_ids_to_tokens(list(token_ids)))

    def submit(self, batch: Sequence[PreparedRequest]) -> OutputStream:
        """Give prepared requests to the engine; their outputs come in one stream. Needs a running event loop.

        Raises QueueFullError and EngineDeadError.
        """
        self.check_capacity(sum(len(prepared.samples) for prepared in batch))
        self._requests.check_ids([prepared.request_id for prepared in batch])
        self._connection.begin()
        stream = self._requests.add(batch, current_observer.get())
        self._gate.add([prepared.message for prepared in batch])
        return stream

    def check_capacity(self, sequences: int = 1) -> None:
        """Raise what submit() would raise now for so many sequences: QueueFullError or EngineDeadError."""
        self._connection.check_alive()
        self._requests.check_capacity(sequences)

    async def abort(self, request_id: str | Sequence[str], *, why: str | None = None) -> None:
        """End requests; their streams get a last output with the finish_reason "abort" and the stop_reason `why`."""
        self._requests.abort([request_id] if isinstance(request_id, str) else list(request_id), why)

    def stop_accepting(self) -> None:
        """Refuse new requests from now on (QueueFullError); those in flight go on."""
        self._requests.accepting = False

    def abort_all(self, *, why: str | None = None) -> None:
        """End every request, as abort() does."""
        self._requests.abort(why=why)

    @property
    def is_accepting(self) -> bool:
        """False after stop_accepting()."""
        return self._requests.accepting

    def num_in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._requests)

    async def sleep(self, level: int = 1, mode: Literal["abort", "wait"] | None = None) -> None:
        """As EngineControl.sleep(); `mode` is about unfinished requests: "abort" them, or "wait" for their end."""
        if mode not in (None, "abort", "wait"):
            raise RequestError(f"mode is {mode!r}; give 'abort' or 'wait', or leave it out.", "mode")
        if mode == "abort":
            self.abort_all()
        while mode == "wait" and self.num_in_flight():
            await asyncio.sleep(0.01)
        await super().sleep(level)

    async def pause_generation(self, mode: str = "abort", *, clear_cache: bool = True) -> None:
        """Stop until resume_generation(), as for new weights; new requests wait meanwhile.

        Those in flight end at once with what they have ("abort", and the stop_reason "paused"), by themselves ("wait"),
        or go on afterwards ("keep"; cached prefixes stay then). Raises RequestError for another mode.
        """
        chosen = PauseMode.of(mode)
        self._gate.closed = True
        if chosen is PauseMode.ABORT:
            self._requests.abort(why=PAUSED)
        elif chosen is PauseMode.WAIT:
            await self._connection.pause(paused=False)  # those of an earlier pause could not end
            await self._requests.ended()
        await self._connection.pause(paused=True)
        if clear_cache and chosen is not PauseMode.KEEP:
            await self.reset_prefix_cache()

    async def resume_generation(self) -> None:
        """End a pause."""
        await self._connection.pause(paused=False)
        self._gate.open()

    def is_paused(self) -> bool:
        """Whether a pause has begun and not ended."""
        return self._gate.closed

    def shutdown(self) -> None:
        """End the engine process. Requests in flight end with EngineDeadError."""
        self.stop_accepting()
        self._texts.close()
        self._grammars.close()
        self._connection.close()


AsyncLLMEngine = AsyncLLM  # vLLM's other name
