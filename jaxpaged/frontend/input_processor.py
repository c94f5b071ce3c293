"""Prompts and chats to validated EngineRequests. Everything a request can get wrong by itself is refused here, once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from jaxpaged.config import EngineConfig
from jaxpaged.engine.beams.search import check_width, num_candidates
from jaxpaged.engine.messages import ChildSample, EngineInfo, EngineRequest
from jaxpaged.errors import RequestError
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.frontend.thinking import PARAM, reasoning_marks
from jaxpaged.params.no_token import check_first_token
from jaxpaged.params.thinking import ThinkingLimit
from jaxpaged.params.values import integer
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.text.chat_template import ChatOptions, Message, render_chat
from jaxpaged.text.prompts import Prompt, PromptType, TokensPrompt, parse_prompt
from jaxpaged.text.tokenizer import check_vocabulary
from jaxpaged.text.truncation import truncation_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PRIORITIES = (-(2**63), 2**63 - 1)
_TOKENIZATION_KWARGS = frozenset(("add_special_tokens", "truncation", "max_length"))
_LIKELY_TOKEN_CHARS = 16  # a text shorter than this per token of context is tokenized without a second thought


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request as a front end keeps it; `samples` are its n sequences. `arrival_time` is wall time.

    `request_id` is the caller's and stays here: the engine knows the samples by numbers of their own.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    samples: tuple[EngineRequest, ...]
    arrival_time: float

    @property
    def message(self) -> EngineRequest:
        """What the engine gets: the first sample, which names the others as its children."""
        return self.samples[0]


class InputProcessor:
    """Turns what callers give into PreparedRequests for an engine with the limits in `info`.

    Raises ConfigError when the tokenizer belongs to another model.
    """

    def __init__(self, config: EngineConfig, info: EngineInfo, front_end: FrontEnd) -> None:
        if front_end.tokenizer is not None:
            check_vocabulary(front_end.tokenizer, info.vocab_size)
        self._config = config
        self._vocab_size = info.vocab_size
        self._max_model_len = info.max_model_len
        self._tokenizer = front_end.tokenizer
        self._sampling_defaults = front_end.generation.sampling
        self._eos_token_ids = tuple(i for i in front_end.generation.eos_token_ids if 0 <= i < info.vocab_size)
        self._longest_token: int | None = None
        self._engine_ids = count(1)
        self._marks = reasoning_marks(self._tokenizer, info.vocab_size, config.model.reasoning_config)

    def default_params(self) -> SamplingParams:
        """SamplingParams with the defaults of the model's generation_config.json."""
        return SamplingParams(**self._sampling_defaults)

    def use_reasoning_marks(self, begins: Sequence[str], ends: Sequence[str]) -> None:
        """What a thought begins and ends with, in all spellings, where reasoning_config does not say it."""
        given = self._config.model.reasoning_config
        self._marks = reasoning_marks(self._tokenizer, self._vocab_size, given, (begins, ends))

    @property
    def limits_thoughts(self) -> bool:
        """Whether a request may have a thinking_token_budget."""
        return self._marks is not None

    def process(
        self,
        request_id: str,
        prompt: PromptType,
        params: SamplingParams | None = None,
        *,
        beam: BeamSearchParams | None = None,
        priority: int = 0,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        thought_opened: bool | None = None,
    ) -> PreparedRequest:
        """Validate one prompt. Raises RequestError, naming the parameter that is wrong and how to correct it.

        With `beam` its completions are the answers of a beam search, and `params` say how to show these.
        `thought_opened`: whether the answer begins within a thought; None: as the marks in the prompt say.
        """
        parsed = parse_prompt(prompt)
        params = params or self.default_params()
        token_ids = self._prompt_token_ids(parsed, dict(tokenization_kwargs or {}), params.max_tokens)
        if beam is not None:  # first: the log probabilities that a width asks for are the beams' own matter
            self._check_beams(beam, params)
        params = self._checked_params(params, len(token_ids))
        priority = self._checked_priority(priority)
        arrival = time.monotonic()
        base = EngineRequest(
            request_id=next(self._engine_ids),
            prompt_token_ids=token_ids,
            params=params,
            arrival=arrival,
            eos_token_ids=self._eos_token_ids,
            priority=priority,
            cache_salt=parsed.cache_salt,
            prompt_embeds=None if parsed.embeds is None else parsed.embeds.tobytes(),
            beam=beam,
            thinking=self._thinking_limit(params, [] if parsed.embeds is not None else token_ids, thought_opened),
        )
        return PreparedRequest(request_id, parsed.text, token_ids, params, self._samples(base), time.time())

    def process_chat(
        self,
        request_id: str,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        options: ChatOptions | None = None,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> PreparedRequest:
        """Render a conversation with the chat template, then as process()."""
        chat = render_chat(self._need_tokenizer("chat"), messages, options)
        prompt = TokensPrompt(prompt_token_ids=chat.token_ids, prompt=chat.prompt)
        if cache_salt is not None:
            prompt["cache_salt"] = cache_salt
        return self.process(request_id, prompt, params, priority=priority)

    def _prompt_token_ids(
        self, prompt: Prompt, tokenization_kwargs: dict[str, Any], max_tokens: int | None
    ) -> list[int]:
        truncation = truncation_of(tokenization_kwargs)
        if prompt.embeds is not None:
            token_ids = self._embeds_placeholder(prompt)
        elif prompt.token_ids is not None:
            token_ids = prompt.token_ids
        else:
            token_ids = self._tokenize(prompt.text or "", tokenization_kwargs, cut=truncation is not None)
        if truncation is not None and prompt.embeds is None:
            token_ids = truncation.apply(token_ids, self._max_model_len, max_tokens)
        if not token_ids:
            raise RequestError("The prompt is empty; give at least one token.", "prompt")
        self._check_length(len(token_ids))
        low, high = min(token_ids), max(token_ids)
        if low < 0 or high >= self._vocab_size:
            raise RequestError(
                f"Token id {low if low < 0 else high} is not in the model's vocabulary (0 to {self._vocab_size - 1}).",
                "prompt",
            )
        return token_ids

    def _tokenize(self, text: str, tokenization_kwargs: Mapping[str, Any], *, cut: bool) -> list[int]:
        tokenizer = self._need_tokenizer("a text prompt")
        unknown = sorted(set(tokenization_kwargs) - _TOKENIZATION_KWARGS)
        if unknown:
            raise RequestError(f"tokenization_kwargs has no {', '.join(unknown)} here.", "tokenization_kwargs")
        if not (cut or tokenization_kwargs.get("truncation")):
            self._check_characters(text, tokenizer)
        # Not verbose: we check the length ourselves.
        token_ids: list[int] = tokenizer.encode(text, verbose=False, **tokenization_kwargs)
        return token_ids

    def _check_characters(self, text: str, tokenizer: PreTrainedTokenizerFast) -> None:
        """Refuse a text that is too long whatever its tokens, before minutes are spent on tokenizing it."""
        if len(text) <= self._max_model_len * _LIKELY_TOKEN_CHARS:
            return
        if self._longest_token is None:
            self._longest_token = max(len(token) for token in tokenizer.get_vocab())
        if len(text) > self._max_model_len * self._longest_token:
            self._check_length(-(-len(text) // self._longest_token))

    def _check_length(self, length: int) -> None:
        if length >= self._max_model_len:
            raise RequestError(
                f"The prompt is too long: it has {length} tokens or more, and this model's maximum context length is "
                f"{self._max_model_len} tokens, of which one must be left to generate. Shorten the prompt to "
                f"{self._max_model_len - 1} or raise max_model_len.",
                "prompt",
            )

    def _embeds_placeholder(self, prompt: Prompt) -> list[int]:
        if not self._config.model.enable_prompt_embeds:
            raise RequestError("prompt_embeds is off; start with enable_prompt_embeds=True.", "prompt_embeds")
        return [0] * (0 if prompt.embeds is None else len(prompt.embeds))

    def _checked_params(self, params: SamplingParams, prompt_len: int) -> SamplingParams:
        room = self._max_model_len - prompt_len
        if params.min_tokens > room:
            raise RequestError(
                f"min_tokens is {params.min_tokens}, but this model's maximum context length is {self._max_model_len} "
                f"tokens, which after a prompt of {prompt_len} leaves room for {room}.",
                "min_tokens",
            )
        if params.extra_args and not self._config.logits_processors:
            raise RequestError("extra_args are for logits_processors, and this engine has none.", "extra_args")
        if params.structured_outputs is not None:
            self._need_tokenizer("structured_outputs")
        if params.bad_words and self._tokenizer is not None:
            params = params.tokenize_bad_words(partial(self._tokenizer.encode, add_special_tokens=False))
        params.validate(self._vocab_size, self._max_model_len, self._config.model.max_logprobs)
        check_first_token(params, self._eos_token_ids, self._vocab_size)
        max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        if params.stream_interval is None and self._config.scheduler.stream_interval > 1:
            params = replace(params, stream_interval=self._config.scheduler.stream_interval)
        return params if max_tokens == params.max_tokens else replace(params, max_tokens=max_tokens)

    def _thinking_limit(
        self, params: SamplingParams, prompt: Sequence[int], opened: bool | None
    ) -> ThinkingLimit | None:
        if params.thinking_token_budget is None:
            return None
        if self._marks is None:
            raise RequestError(
                f"{PARAM} needs the marks around a thought; start with reasoning_config={{'reasoning_start_str': ..., "
                "'reasoning_end_str': ...}, or a server with a --reasoning-parser.",
                PARAM,
            )
        return self._marks.limit(params, prompt, opened=opened)

    def _check_beams(self, beam: BeamSearchParams, params: SamplingParams) -> None:
        if params.structured_outputs is not None:
            raise RequestError("structured_outputs does not go with a beam search; leave it out.", "structured_outputs")
        if params.thinking_token_budget is not None:
            raise RequestError(f"{PARAM} does not go with a beam search; leave it out.", PARAM)
        stop_ids, model = 0 if params.ignore_eos else len(self._eos_token_ids), self._config.model
        check_width(beam.beam_width, stop_ids, self._vocab_size)
        changed = model.logprobs_mode.startswith("processed") and bool(self._config.logits_processors)
        if changed or model.logprobs_mode.endswith("logits"):
            raise RequestError(
                f"beam search adds up the model's own log probabilities, and logprobs_mode is {model.logprobs_mode!r}"
                f"{' with logits_processors' if changed else ''}; start with logprobs_mode='raw_logprobs'.",
                "beam_width",
            )
        wanted = num_candidates(beam.beam_width, stop_ids)
        if -1 < model.max_logprobs < wanted:
            raise RequestError(
                f"beam_width is {beam.beam_width}, which takes the {wanted} best tokens of each beam, and max_logprobs "
                f"is {model.max_logprobs}; lower it or start with max_logprobs={wanted}.",
                "beam_width",
            )

    def _samples(self, first: EngineRequest) -> tuple[EngineRequest, ...]:
        """The n sequences of a request. Sample i has seed + i; only the first scores the prompt."""
        params = first.params
        number = params.n if first.beam is None else first.beam.beam_width
        if number == 1:
            return (first,)
        samples = []
        for index in range(number):
            sample_params = replace(
                params,
                n=1,
                seed=None if params.seed is None else _sample_seed(params.seed, index),
                prompt_logprobs=params.prompt_logprobs if index == 0 else None,
            )
            engine_id = next(self._engine_ids) if index else first.request_id
            samples.append(replace(first, request_id=engine_id, params=sample_params))
        children = tuple(ChildSample(sample.request_id, sample.params) for sample in samples[1:])
        return (replace(samples[0], children=children), *samples[1:])

    def _checked_priority(self, priority: int) -> int:
        priority = integer("priority", priority, *PRIORITIES)
        if priority and self._config.scheduler.policy != "priority":
            raise RequestError(
                f"priority is {priority}, but requests are served first come, first served; "
                "start with scheduling_policy='priority'.",
                "priority",
            )
        return priority

    def _need_tokenizer(self, what: str) -> PreTrainedTokenizerFast:
        if self._tokenizer is None:
            raise RequestError(f"{what} needs a tokenizer, but skip_tokenizer_init is set; give token ids.", "prompt")
        return self._tokenizer


def _sample_seed(seed: int, index: int) -> int:
    """seed + index in 64 bits; never -1, which means no seed."""
    wrapped = (seed + index + 2**63) % 2**64 - 2**63
    return wrapped if wrapped != -1 else -(2**63)
