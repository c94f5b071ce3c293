"""What crosses between a front end and an engine: plain dataclasses that msgspec encodes as msgpack, never pickle.

In one process (`LLM`) they are passed as they are; between processes they travel over ZMQ.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxpaged.params.thinking import ThinkingLimit
from jaxpaged.sampling_params import BeamSearchParams, SamplingParams
from jaxpaged.scheduling.stats import KVStats


@dataclass(slots=True)
class ChildSample:
    """One more sample of the prompt of an EngineRequest; everything that is not here is the request's."""

    request_id: int
    params: SamplingParams


@dataclass(slots=True)
class EngineRequest:
    """One sequence to generate, in token ids, and the other samples of its prompt, which is computed once.

    To an engine each sequence is a request. Its `request_id` is a number that the front end never gives twice, however
    often the engine is started again; only the front end knows which of a caller's requests it belongs to.
    With `beam` they are the answers of a beam search instead, the best first; of `params` only max_tokens, ignore_eos
    and logprobs count then. `prompt_embeds` are float32 bytes of shape [prompt_len, hidden].
    """

    request_id: int
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival: float
    eos_token_ids: tuple[int, ...] = ()
    priority: int = 0
    cache_salt: str | None = None
    prompt_embeds: bytes | None = None
    children: tuple[ChildSample, ...] = ()
    beam: BeamSearchParams | None = None
    thinking: ThinkingLimit | None = None


@dataclass(slots=True)
class TokenLogprobs:
    """Log probabilities at one position: the token itself, its rank (1 = best) and the best few."""

    token_id: int
    logprob: float
    rank: int
    top_ids: list[int]
    top_logprobs: list[float]


@dataclass(slots=True)
class EngineOutput:
    """What one step brought to one request. The last one carries `finish_reason`, it and the first `num_cached_tokens`.

    `prompt_logprobs` holds positions 1..len(prompt)-1, sent with the first sampled token. `refused` names the parameter
    that is to blame for `error`, where a request turned out to be a mistake after the engine had taken it.
    """

    request_id: int
    new_token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    error: str | None = None
    refused: str | None = None
    num_cached_tokens: int = 0
    events: list[tuple[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class EngineStats:
    """Gauges and counters since start; one snapshot is sent with each batch of outputs.

    step_tokens, total_tokens: tokens of all steps, as jaxpaged.scheduling.stats.StepTokens counts them.
    """

    num_running: int = 0
    num_waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    num_preemptions: int = 0
    num_steps: int = 0
    tokens_last_step: int = 0
    step_tokens: tuple[int, ...] = ()
    total_tokens: int = 0
    sleep_level: int | None = None
    last_step_age: float = 0.0
    compiles_after_ready: int = 0
    kv: KVStats = field(default_factory=KVStats)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What start-up decided, for clients, logs and metrics."""

    model: str
    max_model_len: int
    vocab_size: int
    num_pages: int
    page_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    backend: str
    start_up_seconds: float
    report: str
