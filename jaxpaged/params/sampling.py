"""How one request is sampled: vLLM's SamplingParams, with its names, defaults, order and limits. No arrays, no jax.

Values are normalised and checked when the object is made; what depends on the model is checked by validate().
A field that only a later version will serve is refused by name as soon as it is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.bad_words import spellings
from jaxpaged.params.keywords import suggest_keywords
from jaxpaged.params.ranges import (
    BOOLEANS,
    FLOATS,
    GREEDY_BELOW,
    INTEGERS,
    MAX_BAD_WORD_SPELLINGS,
    MAX_BAD_WORDS,
    MAX_BAD_WORDS_CHARACTERS,
    MAX_BAD_WORDS_TOKENS,
    MAX_STOP_CHARACTERS,
    MIN_TEMPERATURE,
    NOT_YET,
    OPTIONAL,
    TOKEN_ID_LISTS,
)
from jaxpaged.params.repetition import repetition_detection
from jaxpaged.params.structured import StructuredOutputsParams, structured_outputs
from jaxpaged.params.values import (
    boolean,
    check_characters,
    check_count,
    integer,
    listed,
    logit_biases,
    real,
    shown,
    strings,
    token_ids,
    unique,
    unique_lists,
)


class RequestOutputKind(Enum):
    """What each RequestOutput of a stream holds."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@suggest_keywords
@dataclass(slots=True, repr=False)
class SamplingParams:
    """vLLM's sampling parameters; its documentation holds for every field.

    Raises RequestError, whose `param` names the field, for a value that cannot be served.
    After construction `stop`, `stop_token_ids` and `bad_words` are lists, a temperature below 1e-5 means greedy and
    resets top_p, top_k and min_p, and `_bad_words_token_ids` is None until tokenize_bad_words() fills it.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    watermarking: bool | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprob_token_ids: list[list[int]] | None = None
    prompt_logprob_start: int | None = None
    logprob_token_ids: list[int] | None = None
    flat_logprobs: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    stream_interval: int | None = None
    structured_outputs: StructuredOutputsParams | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    extra_args: dict[str, Any] | None = None
    bad_words: list[str] | None = None
    _bad_words_token_ids: list[list[int]] | None = None
    skip_reading_prefix_cache: bool | None = None
    thinking_token_budget: int | None = None
    repetition_detection: dict[str, int] | None = None
    routed_experts_prompt_start: int = 0
    trace_decode_token_ids: list[int] | None = None

    def __post_init__(self) -> None:
        self._refuse_what_is_not_there_yet()
        self._check_numbers()
        self._check_lists()
        self.structured_outputs = structured_outputs(self.structured_outputs)
        self.repetition_detection = repetition_detection(self.repetition_detection)
        self._normalise()
        self._check_together()

    def __repr__(self) -> str:
        """Only what differs from the defaults: 36 fields would bury it."""
        plain = SamplingParams()
        values = ((field.name, getattr(self, field.name), getattr(plain, field.name)) for field in fields(self))
        shown = (f"{name}={value!r}" for name, value, default in values if value != default)
        return f"SamplingParams({', '.join(shown)})"

    @classmethod
    def from_optional(cls, **given: Any) -> SamplingParams:
        """The constructor with None for "the default". max_tokens=None still means "until the context is full"."""
        kept: dict[str, Any] = {n: value for n, value in given.items() if value is not None or n == "max_tokens"}
        return cls(**kept)

    @property
    def greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def num_logprobs(self) -> int | None:
        """How many log probabilities a generated token carries beside its own (-1 = the vocabulary), None for none."""
        return len(self.logprob_token_ids) if self.logprob_token_ids else self.logprobs

    def _refuse_what_is_not_there_yet(self) -> None:
        for name, harmless in NOT_YET.items():
            value = getattr(self, name)
            if not any(type(value) is type(other) and value == other for other in harmless):
                raise RequestError(f"{name} is not served by this version; leave it out.", name)
            setattr(self, name, harmless[0])

    def _check_numbers(self) -> None:
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is True:  # the OpenAI chat protocol's spelling of 1
                setattr(self, name, 1)
        for name, (low, high) in INTEGERS.items():
            value = getattr(self, name)
            if value is not None or name not in OPTIONAL:
                setattr(self, name, integer(name, value, low, high))
        for name, (least, most, interval) in FLOATS.items():
            setattr(self, name, real(name, getattr(self, name), least, most, interval))
        for name in BOOLEANS:
            boolean(name, getattr(self, name))
        if self.skip_reading_prefix_cache is not None:
            boolean("skip_reading_prefix_cache", self.skip_reading_prefix_cache)
        if self.extra_args is not None and not isinstance(self.extra_args, dict):
            raise RequestError(f"extra_args must be a mapping, got {shown(self.extra_args)}.", "extra_args")
        if not isinstance(self.output_kind, RequestOutputKind):
            raise RequestError(f"output_kind must be a RequestOutputKind, got {self.output_kind!r}.", "output_kind")

    def _check_lists(self) -> None:
        self.stop = [self.stop] if isinstance(self.stop, str) else strings("stop", self.stop)
        if "" in self.stop:
            raise RequestError("stop holds an empty string, which would end every text; remove it.", "stop")
        check_characters("stop", max(map(len, self.stop), default=0), MAX_STOP_CHARACTERS)
        self.bad_words = unique(strings("bad_words", self.bad_words))
        if "" in self.bad_words:
            raise RequestError("bad_words holds an empty string; remove it.", "bad_words")
        check_count("bad_words", len(self.bad_words), MAX_BAD_WORDS)
        check_characters(
            "bad_words", sum(map(len, self.bad_words)), MAX_BAD_WORDS_CHARACTERS
        )  # before they become tokens
        for name, most in TOKEN_ID_LISTS.items():
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, token_ids(name, value, most))
        self.stop_token_ids = unique(self.stop_token_ids or [])
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            raise RequestError("allowed_token_ids is empty, so nothing could be generated.", "allowed_token_ids")
        if self.logit_bias is not None:
            self.logit_bias = logit_biases(self.logit_bias)

    def _normalise(self) -> None:
        if self.seed == -1:
            self.seed = None
        if self.thinking_token_budget == -1:
            self.thinking_token_budget = None
        if self.greedy:
            self.temperature, self.top_p, self.top_k, self.min_p = 0.0, 1.0, 0, 0.0
        elif self.temperature < MIN_TEMPERATURE:
            self.temperature = MIN_TEMPERATURE
        if self.skip_reading_prefix_cache is None:
            # A cached prefix is not computed again, so it would have no log probabilities.
            self.skip_reading_prefix_cache = self.prompt_logprobs is not None

    def _check_together(self) -> None:
        if self.greedy and self.n > 1:
            raise RequestError(f"n is {self.n}, but greedy sampling gives the same text each time; set n=1.", "n")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise RequestError(
                f"min_tokens is {self.min_tokens}, more than max_tokens, which is {self.max_tokens}.", "min_tokens"
            )
        if self.stop and not self.detokenize:
            raise RequestError("stop needs the text, but detokenize is False; set detokenize=True.", "stop")

    def tokenize_bad_words(self, encode: Callable[[str], Sequence[int]]) -> SamplingParams:
        """A copy whose bad words are token ids, ready for an engine. `encode` adds no special tokens.

        Each word is forbidden with and without a space before it. Raises RequestError.
        """
        sequences: list[list[int]] = []
        for word in self.bad_words or ():
            found = spellings(word, encode)
            if not found:
                raise RequestError(f"bad_words entry {word!r} has no tokens; remove it.", "bad_words")
            sequences += found
        return replace(self, _bad_words_token_ids=unique_lists(sequences) or None)

    def validate(self, vocab_size: int, max_model_len: int, max_logprobs: int) -> None:
        """Check against a model and engine. max_logprobs -1 means the whole vocabulary. Raises RequestError."""
        most = vocab_size if max_logprobs == -1 else max_logprobs
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(self, name)
            wanted = vocab_size if value == -1 else value or 0
            if wanted > most:
                raise RequestError(f"{name} asks for {wanted}, but this engine gives at most {most}.", name)
        if self.min_tokens > max_model_len:
            raise RequestError(
                f"min_tokens is {self.min_tokens}, more than this model's maximum context length of {max_model_len} "
                "tokens.",
                "min_tokens",
            )
        self._check_vocabulary(vocab_size)
        self._check_bad_words_are_tokens()

    def _check_vocabulary(self, vocab_size: int) -> None:
        named: dict[str, Iterable[int]] = {name: getattr(self, name) or () for name in TOKEN_ID_LISTS}
        named["logit_bias"] = self.logit_bias or ()
        named["bad_words"] = [token for sequence in self._bad_words_token_ids or () for token in sequence]
        for name, ids in named.items():
            outside = [token for token in ids if not 0 <= token < vocab_size]
            if outside:
                which = (
                    f"token id {outside[0]}, which is"
                    if len(outside) == 1
                    else f"token ids {listed(outside)}, which are"
                )
                raise RequestError(f"{name} has {which} not in the vocabulary (0 to {vocab_size - 1}).", name)

    def _check_bad_words_are_tokens(self) -> None:
        sequences = self._bad_words_token_ids or []
        if self.bad_words and not sequences:
            raise RequestError("bad_words needs a tokenizer, and this engine runs without one.", "bad_words")
        if len(sequences) > MAX_BAD_WORD_SPELLINGS or sum(map(len, sequences)) > MAX_BAD_WORDS_TOKENS:
            raise RequestError(
                f"bad_words become {len(sequences)} token sequences with {sum(map(len, sequences))} tokens; "
                f"at most {MAX_BAD_WORD_SPELLINGS} with {MAX_BAD_WORDS_TOKENS} are taken.",
                "bad_words",
            )
