"""What an LLM asks of its engine: batches of prompts, conversations, beam searches and prefixes, prepared and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from numbers import Integral
from typing import Any, cast

from jaxpaged.config import EngineConfig
from jaxpaged.engine.engine import Engine
from jaxpaged.errors import RequestError
from jaxpaged.frontend.beam_output import BeamSearchOutput, beam_search_output, shown_of_beams
from jaxpaged.frontend.cached_prefix import CachedPrefix
from jaxpaged.frontend.input_processor import InputProcessor, PreparedRequest
from jaxpaged.frontend.llm_arguments import final_only, naming, per_request
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.frontend.offline import ProgressOption, run_batch
from jaxpaged.frontend.output_processor import OutputProcessor
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.structured.checker import GrammarChecker
from jaxpaged.text.chat_template import ChatOptions, Message
from jaxpaged.text.prompts import PromptType, prompt_list

SamplingChoice = SamplingParams | Sequence[SamplingParams] | None
PriorityChoice = int | Sequence[int] | None


class OfflineRequests:
    """Prepares whole batches, then runs them: nothing runs if one request of a batch is refused (RequestError)."""

    def __init__(self, config: EngineConfig, engine: Engine, front_end: FrontEnd) -> None:
        self._config = config
        self._engine = engine
        self._tokenizer = front_end.tokenizer
        self._input = InputProcessor(config, engine.info, front_end)
        self._output = OutputProcessor(front_end.vocabulary)
        self._grammars = GrammarChecker(front_end.grammar_vocabulary(engine.info.vocab_size))
        self._ids = count()
        self._queued: list[PreparedRequest] = []
        self._ended: dict[str, RequestOutput] = {}  # of what is queued

    def default_params(self) -> SamplingParams:
        """SamplingParams with the defaults of the model's generation_config.json."""
        return self._input.default_params()

    def prompts(
        self,
        prompts: PromptType | Sequence[PromptType],
        sampling_params: SamplingChoice,
        priority: PriorityChoice,
        tokenization_kwargs: Mapping[str, Any] | None,
    ) -> list[PreparedRequest]:
        """A request for each prompt."""
        batch = prompt_list(prompts)
        params, priorities = self._for_each(sampling_params, priority, len(batch))
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
        return prepared

    def conversations(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling_params: SamplingChoice,
        priority: PriorityChoice,
        options: ChatOptions,
    ) -> list[PreparedRequest]:
        """A request for each conversation."""
        params, priorities = self._for_each(sampling_params, priority, len(conversations))
        prepared = []
        for index, conversation in enumerate(conversations):
            with naming("conversations", index, len(conversations)):
                request = self._input.process_chat(
                    self._next_id(), conversation, params[index], options=options, priority=priorities[index]
                )
            prepared.append(request)
        return prepared

    def run(self, prepared: Sequence[PreparedRequest], use_tqdm: ProgressOption) -> list[RequestOutput]:
        """The outputs, in the order of the requests."""
        return run_batch(self._engine, self._output, prepared, use_tqdm)

    def enqueue(self, prepared: Sequence[PreparedRequest]) -> list[str]:
        """Keep requests for answer_queued(); returns their ids."""
        self._queued += prepared
        return [request.request_id for request in prepared]

    def abort_queued(self) -> None:
        """End what is queued; its outputs say "abort"."""
        for request in self._waiting():
            self._output.add(request)
        processed = self._output.abort([request.request_id for request in self._waiting()])
        self._ended.update((output.request_id, output) for output in processed.outputs)

    def answer_queued(self, use_tqdm: ProgressOption) -> None:
        """Run what is queued and has not ended."""
        outputs = self.run(self._waiting(), use_tqdm)
        self._ended.update((output.request_id, output) for output in outputs)

    def take_queued(self) -> list[RequestOutput]:
        """The outputs of what was queued, in its order; the queue is empty then."""
        outputs = [self._ended[request.request_id] for request in self._queued]
        self._queued, self._ended = [], {}
        return outputs

    def _waiting(self) -> list[PreparedRequest]:
        return [request for request in self._queued if request.request_id not in self._ended]

    def beam_search(
        self, prompts: PromptType | Sequence[PromptType], params: BeamSearchParams, use_tqdm: ProgressOption
    ) -> list[BeamSearchOutput]:
        """The best answers to each prompt; a search that fails says so in its `error`."""
        batch = prompt_list(prompts)
        shown = final_only(shown_of_beams(params))
        prepared = []
        for index, prompt in enumerate(batch):
            with naming("prompts", index, len(batch)):
                prepared.append(self._input.process(self._next_id(), prompt, shown, beam=params))
        decode = self._tokenizer and partial(self._tokenizer.decode, skip_special_tokens=params.skip_special_tokens)
        outputs = self.run(prepared, use_tqdm)
        return [
            beam_search_output(output, request.prompt_token_ids, params, decode)
            for output, request in zip(outputs, prepared, strict=True)
        ]

    def cache_prefix(self, prompt: PromptType | Sequence[Message]) -> CachedPrefix:
        """Compute a prompt, or the beginning of a conversation, and pin its full pages."""
        if not self._config.cache.enable_prefix_caching:
            raise RequestError("Prefix caching is off; start with enable_prefix_caching=True.")
        prepared = self._prepare_prefix(prompt)
        (output,) = self.run([prepared], False)
        if output.error is not None:
            raise RequestError(f"The prefix could not be computed: {output.error}.", "prompt")
        num_tokens = self._engine.pin_prefix(prepared.request_id, prepared.message)
        return CachedPrefix(prepared.request_id, num_tokens, self._engine.unpin_prefix)

    def _prepare_prefix(self, prompt: PromptType | Sequence[Message]) -> PreparedRequest:
        params = final_only(SamplingParams(temperature=0, max_tokens=1, detokenize=False))
        if isinstance(prompt, Sequence) and prompt and isinstance(prompt[0], Mapping):
            options = ChatOptions(add_generation_prompt=False)
            return self._input.process_chat(self._next_id(), cast(Sequence[Message], prompt), params, options=options)
        return self._input.process(self._next_id(), cast(PromptType, prompt), params)

    def _for_each(
        self, given: SamplingChoice, priority: PriorityChoice, length: int
    ) -> tuple[list[SamplingParams], list[int]]:
        """Parameters and priority of each request; only final outputs will be made."""
        given = given if given is not None else self._input.default_params()
        each: list[SamplingParams] = per_request(given, length, "sampling_params", SamplingParams)
        priorities: list[int] = per_request(0 if priority is None else priority, length, "priority", Integral)
        for params in [given] if isinstance(given, SamplingParams) else each:
            self._grammars.check(params)
        return [final_only(params) for params in each], priorities

    def _next_id(self) -> str:
        return str(next(self._ids))
