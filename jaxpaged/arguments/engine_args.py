"""EngineArgs: everything that an engine can be told, as one object with vLLM's field names."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, Self

from jaxpaged.arguments.flags import add_engine_flags
from jaxpaged.arguments.reasoning_parsers import with_parser_marks
from jaxpaged.arguments.settings import config_of
from jaxpaged.arguments.vllm import VLLM_ONLY, take_vllm_arguments
from jaxpaged.arguments.vllm_argument import VllmArgument
from jaxpaged.config import (
    MAX_LOGPROBS_DEFAULT,
    CompileGuard,
    CpuMatmul,
    DType,
    EngineConfig,
    LayerLoop,
    LoadFormat,
    LogprobsMode,
    Policy,
    Quantization,
)


def _default(argument: VllmArgument) -> Any:
    value = argument.same[0] if argument.same else None
    return field(default_factory=lambda: copy.copy(value)) if isinstance(value, (dict, list, set)) else value


_VllmOnly: Any = make_dataclass(
    "_VllmOnly", [(name, Any, _default(argument)) for name, argument in VLLM_ONLY.items()], kw_only=True
)


@dataclass(kw_only=True)
class EngineArgs(_VllmOnly):
    """Arguments of an engine, for LLM.from_engine_args(); all but the model by name.

    vLLM's fields that have no setting here are there too. Those that would change an answer are refused, and those that
    would not are logged, when the engine is made.
    """

    model: str | Path | None = field(default=None, kw_only=False)
    tokenizer: str | Path | None = None
    skip_tokenizer_init: bool = False
    revision: str | None = None
    dtype: DType | Any = "auto"
    quantization: Quantization | None = None
    load_format: LoadFormat = "auto"
    download_dir: str | Path | None = None
    hf_overrides: Mapping[str, Any] | None = None
    served_model_name: str | Sequence[str] | None = None
    generation_config: str = "auto"
    override_generation_config: Mapping[str, Any] | None = None
    max_model_len: int | None = None
    seed: int | None = 0
    max_logprobs: int = MAX_LOGPROBS_DEFAULT
    logprobs_mode: LogprobsMode = "raw_logprobs"
    logits_processors: Sequence[Any] | None = None
    enable_prompt_embeds: bool = False
    reasoning_config: Mapping[str, Any] | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False
    block_size: int | None = None
    gpu_memory_utilization: float = 0.92
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    enable_prefix_caching: bool | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_queued_reqs: int | None = None
    plans_in_flight: int | None = None
    scheduling_policy: Policy = "fcfs"
    stream_interval: int = 1
    compile_cache_dir: str | None = None
    persistent_compile_cache: bool | None = None
    layer_loop: LayerLoop = "auto"
    cpu_matmul: CpuMatmul = "auto"
    compile_threads: int | None = None
    compile_guard: CompileGuard = "count"
    use_tqdm_on_load: bool = True

    @staticmethod
    def add_cli_args(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Add a flag for each argument to a program's own parser."""
        add_engine_flags(parser, model_positional=False)
        return parser

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> Self:
        """From parsed flags; those of the program itself are ignored."""
        given = {item.name: getattr(args, item.name, None) for item in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})

    def create_engine_config(self, *_: Any, **__: Any) -> EngineConfig:
        """The EngineConfig that these say, checked; log what changes nothing. Raises ConfigError."""
        given = vars(self)
        take_vllm_arguments({name: given[name] for name in VLLM_ONLY})
        config = config_of(with_parser_marks(given))
        config.validate()
        return config


@dataclass(kw_only=True)
class AsyncEngineArgs(EngineArgs):
    """The same for AsyncLLM.from_engine_args()."""
