"""LLM: offline inference in this process, with vLLM's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import jax

from jaxpaged.arguments.engine_args import EngineArgs
from jaxpaged.arguments.reasoning_parsers import with_parser_marks
from jaxpaged.arguments.settings import config_of
from jaxpaged.arguments.vllm import check_other_arguments
from jaxpaged.config import (
    MAX_LOGPROBS_DEFAULT,
    DType,
    EngineConfig,
    LoadFormat,
    LogprobsMode,
    Policy,
    Quantization,
)
from jaxpaged.engine.engine import Engine
from jaxpaged.errors import RequestError
from jaxpaged.frontend.beam_output import BeamSearchOutput
from jaxpaged.frontend.cached_prefix import CachedPrefix
from jaxpaged.frontend.engine_start import start_engine
from jaxpaged.frontend.input_processor import PreparedRequest
from jaxpaged.frontend.llm_arguments import chat_options, needs, no_adapter, refuse
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.frontend.offline import ProgressOption
from jaxpaged.frontend.offline_control import OfflineControl
from jaxpaged.frontend.offline_requests import OfflineRequests, SamplingChoice
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.text.chat_template import Message, read_chat_template
from jaxpaged.text.prompts import PromptType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class LLM(OfflineControl):
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
        tokenizer: str | Path | None = None,
        skip_tokenizer_init: bool = False,
        chat_template: Path | str | None = None,
        revision: str | None = None,
        dtype: DType = "auto",
        quantization: Quantization | None = None,
        load_format: LoadFormat = "auto",
        download_dir: str | Path | None = None,
        hf_overrides: Mapping[str, Any] | None = None,
        served_model_name: str | Sequence[str] | None = None,
        generation_config: str = "auto",
        max_model_len: int | None = None,
        seed: int | None = 0,
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
        config = config_of(with_parser_marks({**others, **locals()}))  # takes the settings among them
        template = None if chat_template is None else read_chat_template(chat_template)
        self._connect(*start_engine(config, template, mesh, devices, progress=use_tqdm_on_load), config)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> Self:
        """The same from vLLM's object of arguments."""
        return cls(**vars(engine_args))

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
        return cls.from_engine(*start_engine(config, chat_template, mesh, devices, progress=use_tqdm_on_load), config)

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
        self._requests = OfflineRequests(config, engine, front_end)

    def generate(
        self,
        prompts: PromptType | Sequence[PromptType],
        sampling_params: SamplingChoice = None,
        *,
        use_tqdm: ProgressOption = True,
        lora_request: Sequence[None] | None = None,
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
        refuse(mm_processor_kwargs=mm_processor_kwargs)
        no_adapter(lora_request, prompts)
        prepared = self._requests.prompts(prompts, sampling_params, priority, tokenization_kwargs)
        return self._requests.run(prepared, use_tqdm)

    def chat(  # noqa: PLR0913 - vLLM's arguments
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingChoice = None,
        use_tqdm: ProgressOption = True,
        lora_request: Sequence[None] | None = None,
        priority: int | Sequence[int] | None = None,
        chat_template: str | None = None,
        chat_template_content_format: Literal["auto", "string", "openai"] = "auto",
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
        prepared = self._prepared_chat(
            messages,
            sampling_params,
            lora_request=lora_request,
            priority=priority,
            chat_template=chat_template,
            chat_template_content_format=chat_template_content_format,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tools=tools,
            chat_template_kwargs=chat_template_kwargs,
            tokenization_kwargs=tokenization_kwargs,
            mm_processor_kwargs=mm_processor_kwargs,
        )
        return self._requests.run(prepared, use_tqdm)

    def _prepared_chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingChoice = None,
        *,
        lora_request: Sequence[None] | None = None,
        priority: int | Sequence[int] | None = None,
        tokenization_kwargs: None = None,
        mm_processor_kwargs: None = None,
        **rendering: Any,
    ) -> list[PreparedRequest]:
        refuse(tokenization_kwargs=tokenization_kwargs, mm_processor_kwargs=mm_processor_kwargs)
        options = chat_options(**rendering)
        batch: Sequence[Any] = [messages] if messages and isinstance(messages[0], Mapping) else messages
        no_adapter(lora_request, batch)
        return self._requests.conversations(batch, sampling_params, priority, options)

    def enqueue(
        self,
        prompts: PromptType | Sequence[PromptType],
        sampling_params: SamplingChoice = None,
        lora_request: Sequence[None] | None = None,
        priority: int | Sequence[int] | None = None,
        use_tqdm: ProgressOption = True,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        mm_processor_kwargs: None = None,
    ) -> list[str]:
        """Take requests as generate() does, without running them; returns their ids. See wait_for_completion()."""
        refuse(mm_processor_kwargs=mm_processor_kwargs)
        no_adapter(lora_request, prompts)
        return self._requests.enqueue(self._requests.prompts(prompts, sampling_params, priority, tokenization_kwargs))

    def enqueue_chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingChoice = None,
        use_tqdm: ProgressOption = True,
        **arguments: Any,
    ) -> list[str]:
        """Take conversations as chat() does, with its other arguments by name; returns the ids of the requests."""
        return self._requests.enqueue(self._prepared_chat(messages, sampling_params, **arguments))

    def wait_for_completion(
        self, output_type: type | tuple[type, ...] | None = None, *, use_tqdm: ProgressOption = True
    ) -> list[RequestOutput]:
        """Run what was enqueued; the outputs come in its order. `output_type`, vLLM's, is always RequestOutput."""
        self._requests.answer_queued(use_tqdm)
        return self._requests.take_queued()

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        """The Hugging Face tokenizer. Raises RequestError with skip_tokenizer_init."""
        if self._front_end.tokenizer is None:
            raise RequestError("There is no tokenizer: skip_tokenizer_init is set.")
        return self._front_end.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """SamplingParams with the defaults of the model's generation_config.json."""
        return self._requests.default_params()

    def cache_prefix(self, prompt: PromptType | Sequence[Message]) -> CachedPrefix:
        """Compute a prompt, or the beginning of a conversation, and keep its full pages until the handle is released.

            with llm.cache_prefix({"prompt": SYSTEM_PROMPT, "cache_salt": "team"}) as prefix:
                llm.generate(...)  # prompts with this beginning and salt skip prefix.num_tokens tokens

        At most half the pool may be pinned; with data parallelism a prefix is pinned on one shard. What forgets the
        prefix cache (reset_prefix_cache(), update_weights(), sleep()) releases it. Raises RequestError.
        """
        return self._requests.cache_prefix(prompt)

    def beam_search(
        self,
        prompts: PromptType | Sequence[PromptType],
        params: BeamSearchParams,
        lora_request: Sequence[None] | None = None,
        use_tqdm: ProgressOption = False,
        concurrency_limit: int | None = None,
    ) -> list[BeamSearchOutput]:
        """The params.beam_width best answers to each prompt, as transformers' generate(num_beams=...) finds them.

        Unlike vLLM's: a score is normalised by the generated tokens, not by the prompt too, and a search ends early
        when it cannot get better. The engine runs as many searches at once as fit, so concurrency_limit is ignored.
        Raises RequestError before anything runs; a search that fails later says so in its `error`.
        """
        no_adapter(lora_request, prompts)
        return self._requests.beam_search(prompts, params, use_tqdm)

    encode = needs("encode", "a pooling model")
    embed = needs("embed", "an embedding model")
    classify = needs("classify", "a sequence-classification model")
    score = needs("score", "an embedding or cross-encoder model")
    reward = needs("reward", "a reward model")

    def __repr__(self) -> str:
        return f"LLM(model={self.engine.info.model!r})"
