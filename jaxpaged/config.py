"""What an engine is told before it starts: one frozen EngineConfig made of small frozen parts.

Field names are vLLM's flag names. Nothing here reads the environment and nothing is changed afterwards: what start-up
works out (the page count, the context that fits) is returned by the part that works it out. A size that is None is
chosen when the device is known: execution/device_defaults.py says what suits which.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxpaged.errors import ConfigError

DType = Literal["auto", "bfloat16", "float16", "float32"]
Policy = Literal["fcfs", "priority"]
LoadFormat = Literal["auto", "safetensors", "orbax", "dummy"]
LogprobsMode = Literal["raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits"]
Quantization = Literal["int8"]  # the names in quant/schemes.py
LayerLoop = Literal["auto", "scan", "unroll", "switch"]
Attention = Literal["auto", "xla"]
CpuMatmul = Literal["auto", "onednn", "xla"]
SamplerVariant = Literal["greedy", "plain", "full", "logprobs"]
CompileGuard = Literal["count", "refuse"]
MAX_LOGPROBS_DEFAULT = 20
REASONING_MARKS = ("reasoning_start_str", "reasoning_end_str")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model, in which precision. `model` is a directory, a GGUF file, a hub id, or None for the bundled one.

    A directory or hub id with a colon and a quantization (org/name:Q4_K_M) means that one of its GGUF models.
    `generation_config` is auto (the model's own file), vllm (no file), or a directory with another file.
    `reasoning_config` has reasoning_start_str and reasoning_end_str, the marks around a thought.
    """

    model: str | None = None
    tokenizer: str | None = None
    revision: str | None = None
    dtype: DType = "auto"
    max_model_len: int | None = None
    seed: int = 0
    load_format: LoadFormat = "auto"
    quantization: Quantization | None = None
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    download_dir: str | None = None
    served_model_name: str | tuple[str, ...] | None = None
    generation_config: str = "auto"
    override_generation_config: Mapping[str, Any] = field(default_factory=dict)
    max_logprobs: int = MAX_LOGPROBS_DEFAULT
    logprobs_mode: LogprobsMode = "raw_logprobs"
    skip_tokenizer_init: bool = False
    enable_prompt_embeds: bool = False
    reasoning_config: Mapping[str, Any] = field(default_factory=dict)

    def served_names(self, otherwise: str) -> tuple[str, ...]:
        """Every name that clients may use; the first one stands in answers and metrics."""
        names = self.served_model_name or self.model or otherwise
        return (names,) if isinstance(names, str) else names

    def validate(self) -> None:
        if self.max_model_len is not None and self.max_model_len < 1:
            raise ConfigError(f"max_model_len is {self.max_model_len}; give a positive number or leave it out.")
        if self.max_logprobs < -1:
            raise ConfigError(f"max_logprobs is {self.max_logprobs}; give -1 (the whole vocabulary), 0 or more.")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError("seed does not fit in 64 bits; give a smaller number.")
        if self.model == "":
            raise ConfigError(
                "model is an empty text; name a directory or a hub id, or leave it out for the bundled one."
            )
        if self.generation_config not in ("auto", "vllm") and not Path(self.generation_config).expanduser().is_dir():
            raise ConfigError(
                f"generation_config is {self.generation_config!r}; give auto, vllm, or a directory that holds "
                "generation_config.json."
            )
        _check_reasoning_config(self.reasoning_config)
        if not all(self.served_names("demo")):
            raise ConfigError("served_model_name holds an empty text; give names that clients can ask for.")


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The KV page pool. Sizes are in tokens (block_size) and bytes."""

    block_size: int | None = None
    gpu_memory_utilization: float = 0.92
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    enable_prefix_caching: bool = True

    def validate(self) -> None:
        size = self.block_size
        if size is not None and (size < 1 or size & (size - 1)):
            raise ConfigError(f"block_size is {size}; give a power of two of tokens (16, 32, 64, ...).")
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            raise ConfigError(f"gpu_memory_utilization is {self.gpu_memory_utilization}; give a share in (0, 1].")
        if self.num_gpu_blocks_override is not None and self.num_gpu_blocks_override < 2:
            raise ConfigError("num_gpu_blocks_override must be at least 2: page 0 is the null page.")
        if self.kv_cache_memory_bytes is not None and self.kv_cache_memory_bytes < 1:
            raise ConfigError("kv_cache_memory_bytes must be positive.")


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How many sequences and tokens one step may hold (None: what suits the device), and who comes first."""

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    policy: Policy = "fcfs"
    max_queued_requests: int = 16384
    plans_in_flight: int = 2
    stream_interval: int = 1

    def validate(self) -> None:
        tokens, seqs = self.max_num_batched_tokens, self.max_num_seqs
        if tokens is not None and tokens < 1:
            raise ConfigError(f"max_num_batched_tokens is {tokens}; a step must hold at least one token.")
        if seqs is not None and seqs < 1:
            raise ConfigError(f"max_num_seqs is {seqs}; at least one sequence must run.")
        if tokens is not None and seqs is not None and tokens < seqs:
            raise ConfigError(
                f"max_num_batched_tokens ({tokens}) is smaller than max_num_seqs ({seqs}): "
                "every running sequence needs a token a step. Raise it or lower max_num_seqs."
            )
        if self.max_queued_requests < 1 or self.plans_in_flight < 1:
            raise ConfigError("max_queued_requests and plans_in_flight must be at least 1.")
        if self.stream_interval < 1:
            raise ConfigError(f"stream_interval is {self.stream_interval}; give 1 token an event, or more.")


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """What a scheduler runs with: SchedulerConfig when the device is known."""

    max_num_seqs: int
    max_num_batched_tokens: int
    policy: Policy = "fcfs"
    max_queued_requests: int = 16384


@dataclass(frozen=True, slots=True)
class ParallelConfig:
    """The mesh: `data` shards of the batch and pages times `model` shards of heads, FFN and vocabulary.

    With enable_expert_parallel each of the `model` shards has whole experts, not a share of every one.
    """

    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False

    def validate(self) -> None:
        if self.tensor_parallel_size < 1 or self.data_parallel_size < 1:
            raise ConfigError("tensor_parallel_size and data_parallel_size must be at least 1.")


@dataclass(frozen=True, slots=True)
class CompileConfig:
    """Compilation before ready. `cache_dir` None keeps the persistent compile cache in the user's cache folder.

    `variants` of the sampler are compiled; a request that needs another one is refused. Fewer make a start faster.
    `attention` auto is the best that the device has; xla keeps clear of the Pallas kernels, whatever the device.
    `cpu_matmul` auto lays a CPU's weights out once for oneDNN where a trial shows that it multiplies them right; onednn
    makes an error of a machine where it does not; xla leaves products to XLA.
    A step that compiles after ready is counted in the metrics; with `guard` "refuse" it is an error.
    """

    cache_dir: str | None = None
    persistent_cache: bool = True
    layer_loop: LayerLoop = "auto"
    attention: Attention = "auto"
    cpu_matmul: CpuMatmul = "auto"
    threads: int | None = None
    variants: tuple[SamplerVariant, ...] = get_args(SamplerVariant)
    guard: CompileGuard = "count"

    def validate(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}; give 1 or more, or leave it out.")
        if not self.variants:
            raise ConfigError("variants is empty; name at least one of " + ", ".join(get_args(SamplerVariant)) + ".")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything an engine needs, checked by validate()."""

    model: ModelConfig = ModelConfig()
    cache: CacheConfig = CacheConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    parallel: ParallelConfig = ParallelConfig()
    compile: CompileConfig = CompileConfig()
    logits_processors: tuple[Any, ...] = ()

    def validate(self) -> None:
        """Raise ConfigError in one sentence that names the field and says how to correct it."""
        for part in (self.model, self.cache, self.scheduler, self.parallel, self.compile):
            _check_kinds(part)
            part.validate()
        for stage in self.logits_processors:
            if isinstance(stage, (str, type)) or not callable(getattr(stage, "apply", None)):
                raise ConfigError(
                    f"logits_processors holds {stage!r}; give objects of the form of "
                    "jaxpaged.sampling.stages.stage.LogitStage."
                )


def _check_reasoning_config(given: Mapping[str, Any]) -> None:
    """Marks are texts; an empty one, as in vLLM, is none. vLLM fills reasoning_parser in by itself."""
    for name, value in given.items():
        if name not in REASONING_MARKS and not (name == "reasoning_parser" and value in ("", None)):
            raise ConfigError(f"reasoning_config has {name!r}; it takes {' and '.join(REASONING_MARKS)}.")
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"reasoning_config has a {name} that is no text; give the mark as the model writes it.")


def _check_kinds(part: Any) -> None:
    """Refuse a value of another kind than its field's: from Python anything may come."""
    for name, kind in get_type_hints(type(part)).items():
        value = getattr(part, name)
        if not _is_of(kind, value):
            raise ConfigError(f"{name} is {value!r}; give {_described(kind)}.")


def _is_of(kind: Any, value: object) -> bool:
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_of(branch, value) for branch in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(get_args(kind)[0], item) for item in value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, get_origin(kind) or kind)


def _described(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_described, get_args(kind)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return f"a tuple of {_described(get_args(kind)[0])}"
    names = {int: "an integer", float: "a number", str: "a text", bool: "True or False", types.NoneType: "None"}
    return names.get(kind, "a mapping")
