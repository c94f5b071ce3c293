"""LLM: offline inference in this process, with vLLM's names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from inspect import signature
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, cast

import jax

from jaxpaged.config import (
    MAX_LOGPROBS_DEFAULT,
    CacheConfig,
    DType,
    EngineConfig,
    LoadFormat,
    LogprobsMode,
    ModelConfig,
    ParallelConfig,
    Policy,
    Quantization,
)
from jaxpaged.engine.engine import Engine
from jaxpaged.errors import RequestError
from jaxpaged.frontend.beam_output import BeamSearchOutput, beam_search_output, shown_of_beams
from jaxpaged.frontend.cached_prefix import CachedPrefix
from jaxpaged.frontend.input_processor import InputProcessor, PreparedRequest
from jaxpaged.frontend.llm_arguments import (
    final_only,
    naming,
    needs,
    per_request,
    refuse,
    scheduler_config,
    with_given,
)
from jaxpaged.frontend.metric_snapshot import Metric, metric_snapshot
from jaxpaged.frontend.model_files import FrontEnd, load_front_end
from jaxpaged.frontend.offline import ProgressOption, run_batch
from jaxpaged.frontend.output_processor import OutputProcessor
from jaxpaged.frontend.vllm_arguments import check_other_arguments
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.structured.checker import GrammarChecker
from jaxpaged.text.chat_template import ChatOptions, Message, read_chat_template
from jaxpaged.text.prompts import PromptType, prompt_list

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from jaxpaged.scheduling.stats import KVStats

SamplingChoice = SamplingParams | Sequence[SamplingParams] | None


class LLM:
    """A model, ready to generate. `model` is a directory, a hub id, or None for the bundled demo model.

    Arguments are vLLM's; None means EngineConfig's default. Not vLLM's: `mesh` (a jax.sharding.Mesh with the axes
    "data" and "model") or `devices` say where it runs. vLLM's other arguments are accepted at the values that change
    nothing here and refused by name (ConfigError) otherwise; an unknown one is a TypeError.

        llm = LLM("Qwen/Qwen3-0.6B")
        outputs = llm.generate(["The capital of France is"], SamplingParams(temperature=0, max_tokens=8))
        print(outputs[0].outputs[0].text)
    """

    def __init__(  # noqa: PLR0913 - vLLM's arguments
        self,
        model: str | Path | None = None,
        *,
        tokenizer: str | None = None,
        skip_tokenizer_init: bool = False,
        chat_template: Path | str | None = None,
        revision: str | None = None,
        dtype: DType = "auto",
        quantization: Quantization | None = None,
        load_format: LoadFormat = "auto",
        download_dir: str | None = None,
        hf_overrides: Mapping[str, Any] | None = None,
        served_model_name: str | None = None,
        generation_config: Literal["auto", "vllm"] = "auto",
        max_model_len: int | None = None,
        seed: int = 0,
        max_logprobs: int = MAX_LOGPROBS_DEFAULT,
        logprobs_mode: LogprobsMode = "raw_logprobs",
        logits_processors: Sequence[Any] | None = None,
        enable_prompt_embeds: bool = False,
        tensor_parallel_size: int = 1,
        data_parallel_size: int = 1,
        block_size: int | None = None,
        gpu_memory_utilization: float = 0.92,
        kv_cache_memory_bytes: int | None = None,
        num_gpu_blocks_override: int | None = None,
        enable_prefix_caching: bool | None = None,
        max_num_seqs: int | None = None,
        max_num_batched_tokens: int | None = None,
        max_num_queued_reqs: int | None = None,
        scheduling_policy: Policy = "fcfs",
        use_tqdm_on_load: bool = True,
        mesh: jax.sharding.Mesh | None = None,
        devices: Sequence[jax.Device] | None = None,
        **others: Any,
    ) -> None:
        check_other_arguments(others, signature(LLM).parameters)
        model_config = ModelConfig(
            model=os.fspath(model) if isinstance(model, Path) else model,
            tokenizer=tokenizer,
            revision=revision,
            dtype=dtype,
            max_model_len=max_model_len,
            seed=seed,
            load_format=load_format,
            quantization=quantization,
            hf_overrides=hf_overrides or {},
            download_dir=download_dir,
            served_model_name=served_model_name,
            generation_config=generation_config,
            max_logprobs=max_logprobs,
            logprobs_mode=logprobs_mode,
            skip_tokenizer_init=skip_tokenizer_init,
            enable_prompt_embeds=enable_prompt_embeds,
        )
        cache = with_given(
            CacheConfig(
                gpu_memory_utilization=gpu_memory_utilization,
                kv_cache_memory_bytes=kv_cache_memory_bytes,
                num_gpu_blocks_override=num_gpu_blocks_override,
            ),
            block_size=block_size,
            enable_prefix_caching=enable_prefix_caching,
        )
        scheduler = scheduler_config(max_num_seqs, max_num_batched_tokens, max_num_queued_reqs, scheduling_policy)
        parallel = ParallelConfig(tensor_parallel_size, data_parallel_size)
        config = EngineConfig(
            model_config, cache, scheduler, parallel, logits_processors=tuple(logits_processors or ())
        )
        template = None if chat_template is None else read_chat_template(chat_template)
        engine, front_end = _start(config, template, mesh=mesh, devices=devices, progress=use_tqdm_on_load)
        self._connect(engine, front_end, config)

    @classmethod
    def from_config(
        cls,
        config: EngineConfig,
        *,
        chat_template: str | None = None,
        mesh: jax.sharding.Mesh | None = None,
        devices: Sequence[jax.Device] | None = None,
        use_tqdm_on_load: bool = True,
    ) -> Self:
        """The same from an EngineConfig."""
        engine, front_end = _start(config, chat_template, mesh=mesh, devices=devices, progress=use_tqdm_on_load)
        return cls.from_engine(engine, front_end, config)

    @classmethod
    def from_engine(cls, engine: Engine, front_end: FrontEnd, config: EngineConfig) -> Self:
        """Put an LLM in front of an engine that is already built."""
        llm = cls.__new__(cls)
        llm._connect(engine, front_end, config)
        return llm

    def _connect(self, engine: Engine, front_end: FrontEnd, config: EngineConfig) -> None:
        self.config = config
        self.engine = engine
        self._front_end = front_end
        self._input = InputProcessor(config, engine.info, front_end)
        self._output = OutputProcessor(front_end.vocabulary)
        self._request_ids = count()
        self._grammars = GrammarChecker()

    def generate(
        self,
        prompts: PromptType | Sequence[PromptType],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: ProgressOption = True,
        lora_request: None = None,
        priority: int | Sequence[int] | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        mm_processor_kwargs: None = None,
    ) -> list[RequestOutput]:
        """Complete one prompt or a batch; the outputs come in the order of the prompts.

        A prompt is text, token ids, {"prompt": ...}, {"prompt_token_ids": ...} or {"prompt_embeds": ...}. A list of
        sampling_params (or priorities) pairs with the prompts; None means the model's defaults. Raises RequestError,
        before anything runs, if a prompt or its parameters cannot be served; a request that fails while it runs ends
        with the finish_reason "error" and leaves the others alone.
        """
        refuse(lora_request=lora_request, mm_processor_kwargs=mm_processor_kwargs)
        batch = prompt_list(prompts)
        params = self._params(sampling_params, len(batch))
        priorities = per_request(priority or 0, len(batch), "priority")
        prepared = []
        for index, prompt in enumerate(batch):
            with naming("prompts", index, len(batch)):
                request = self._input.process(
                    self._next_id(),
                    prompt,
                    params[index],
                    priority=priorities[index],
                    tokenization_kwargs=tokenization_kwargs,
                )
            prepared.append(request)
        return self._run(prepared, use_tqdm)

    def chat(  # noqa: PLR0913 - vLLM's arguments
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingChoice = None,
        use_tqdm: ProgressOption = True,
        lora_request: None = None,
        priority: int | Sequence[int] | None = None,
        chat_template: str | None = None,
        chat_template_content_format: Literal["auto", "string"] = "auto",
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        tokenization_kwargs: None = None,
        mm_processor_kwargs: None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation or a list of them; otherwise like generate().

        A conversation is a list of {"role": ..., "content": ...}. Special tokens spelled in a content stay plain text.
        """
        refuse(
            lora_request=lora_request, tokenization_kwargs=tokenization_kwargs, mm_processor_kwargs=mm_processor_kwargs
        )
        if chat_template_content_format not in ("auto", "string"):
            raise RequestError(
                "chat_template_content_format must be 'auto' or 'string': templates get content as text."
            )
        options = ChatOptions(
            chat_template, add_generation_prompt, continue_final_message, tools, template_kwargs=chat_template_kwargs
        )
        single = bool(messages) and isinstance(messages[0], Mapping)
        batch: Sequence[Any] = [messages] if single else messages
        params = self._params(sampling_params, len(batch))
        priorities = per_request(priority or 0, len(batch), "priority")
        prepared = []
        for index, conversation in enumerate(batch):
            with naming("conversations", index, len(batch)):
                request = self._input.process_chat(
                    self._next_id(), conversation, params[index], options=options, priority=priorities[index]
                )
            prepared.append(request)
        return self._run(prepared, use_tqdm)

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        """The Hugging Face tokenizer. Raises RequestError with skip_tokenizer_init."""
        if self._front_end.tokenizer is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self._front_end.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """SamplingParams with the defaults of the model's generation_config.json."""
        return self._input.default_params()

    def kv_stats(self) -> KVStats:
        """What sharing saves and what is wasted of the KV pages, averaged since start or reset_kv_stats()."""
        return self.engine.kv_stats()

    def reset_kv_stats(self) -> None:
        """Begin the averages of kv_stats() anew."""
        self.engine.reset_kv_stats()

    def get_metrics(self) -> list[Metric]:
        """A snapshot of the engine's counters and gauges, under vLLM's names."""
        return metric_snapshot(self.engine.stats(), self.engine.info.model)

    def cache_prefix(self, prompt: PromptType | Sequence[Message]) -> CachedPrefix:
        """Compute a prompt, or the beginning of a conversation, and keep its full pages until the handle is released.

            with llm.cache_prefix({"prompt": SYSTEM_PROMPT, "cache_salt": "team"}) as prefix:
                llm.generate(...)  # prompts with this beginning and salt skip prefix.num_tokens tokens

        At most half the pool may be pinned; with data parallelism a prefix is pinned on one shard. What forgets the
        prefix cache (reset_prefix_cache(), update_weights(), sleep()) releases it. Raises RequestError.
        """
        if not self.config.cache.enable_prefix_caching:
            raise RequestError("Prefix caching is off; start with enable_prefix_caching=True.")
        prepared = self._prepare_prefix(prompt)
        (output,) = self._run([prepared], False)
        if output.error is not None:
            raise RequestError(f"The prefix could not be computed: {output.error}.", "prompt")
        num_tokens = self.engine.pin_prefix(prepared.request_id, prepared.message)
        return CachedPrefix(prepared.request_id, num_tokens, self.engine.unpin_prefix)

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False while requests that are running hold some of them."""
        return self.engine.reset_prefix_cache()

    def update_weights(self, weights: Mapping[str, Any] | str | Path) -> None:
        """Replace the weights between steps, without a compile or a second copy.

        `weights` is checkpoint name -> array, or a directory with safetensors files. Raises ConfigError.
        """
        self.engine.update_weights(weights)

    def sleep(self, level: int = 1) -> None:
        """Give device memory back: level 1 keeps the weights in host memory, level 2 drops them."""
        self.engine.sleep(level)

    def wake_up(self) -> None:
        """Take the device memory again."""
        self.engine.wake_up()

    def is_sleeping(self) -> bool:
        """Whether sleep() has been called, and wake_up() not yet."""
        return self.engine.is_sleeping()

    def start_profile(self, directory: str | Path | None = None) -> str:
        """Begin a jax.profiler trace; returns its directory, a new one where none is given. Raises RequestError."""
        return self.engine.start_profile(None if directory is None else os.fspath(directory))

    def stop_profile(self) -> str:
        """End and write the trace; returns its directory. Raises RequestError when none was begun."""
        return self.engine.stop_profile()

    def beam_search(
        self,
        prompts: PromptType | Sequence[PromptType],
        params: BeamSearchParams,
        lora_request: None = None,
        use_tqdm: ProgressOption = False,
        concurrency_limit: int | None = None,
    ) -> list[BeamSearchOutput]:
        """The params.beam_width best answers to each prompt, as transformers' generate(num_beams=...) finds them.

        Unlike vLLM's: a score is normalised by the generated tokens, not by the prompt too, and a search ends early
        when it cannot get better. The engine runs as many searches at once as fit, so concurrency_limit is ignored.
        Raises RequestError before anything runs; a search that fails later says so in its `error`.
        """
        refuse(lora_request=lora_request)
        batch = prompt_list(prompts)
        shown = final_only(shown_of_beams(params))
        prepared = []
        for index, prompt in enumerate(batch):
            with naming("prompts", index, len(batch)):
                prepared.append(self._input.process(self._next_id(), prompt, shown, beam=params))
        tokenizer = self._front_end.tokenizer
        decode = tokenizer and partial(tokenizer.decode, skip_special_tokens=params.skip_special_tokens)
        outputs = self._run(prepared, use_tqdm)
        return [
            beam_search_output(output, request.prompt_token_ids, params, decode)
            for output, request in zip(outputs, prepared, strict=True)
        ]

    def encode(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Needs a pooling model."""
        needs("encode", "a pooling model")

    def embed(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Needs an embedding model."""
        needs("embed", "an embedding model")

    def classify(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Needs a sequence-classification model."""
        needs("classify", "a sequence-classification model")

    def score(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Needs an embedding or cross-encoder model."""
        needs("score", "an embedding or cross-encoder model")

    def reward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Needs a reward model."""
        needs("reward", "a reward model")

    def __repr__(self) -> str:
        return f"LLM(model={self.engine.info.model!r})"

    def _prepare_prefix(self, prompt: PromptType | Sequence[Message]) -> PreparedRequest:
        params = final_only(SamplingParams(temperature=0, max_tokens=1, detokenize=False))
        if isinstance(prompt, Sequence) and prompt and isinstance(prompt[0], Mapping):
            options = ChatOptions(add_generation_prompt=False)
            return self._input.process_chat(self._next_id(), cast(Sequence[Message], prompt), params, options=options)
        return self._input.process(self._next_id(), cast(PromptType, prompt), params)

    def _next_id(self) -> str:
        return str(next(self._request_ids))

    def _params(self, given: SamplingChoice, length: int) -> list[SamplingParams]:
        """One for each prompt; only their final outputs will be made."""
        given = given if given is not None else self._input.default_params()
        if isinstance(given, SamplingParams):
            self._grammars.check(given)
            return [final_only(given)] * length
        each: list[SamplingParams] = per_request(given, length, "sampling_params")
        for params in each:
            self._grammars.check(params)
        return [final_only(params) for params in each]

    def _run(self, prepared: Sequence[PreparedRequest], use_tqdm: ProgressOption) -> list[RequestOutput]:
        return run_batch(self.engine, self._output, prepared, use_tqdm)


def _start(
    config: EngineConfig,
    chat_template: str | None,
    *,
    mesh: jax.sharding.Mesh | None,
    devices: Sequence[jax.Device] | None,
    progress: bool,
) -> tuple[Engine, FrontEnd]:
    """Build the engine, and read the tokenizer meanwhile: importing transformers alone takes a second."""
    config.validate()
    with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as pool:
        front_end = pool.submit(load_front_end, config.model, chat_template=chat_template)
        engine = Engine.build(config, devices=devices, mesh=mesh, progress=progress)
        return engine, front_end.result()
