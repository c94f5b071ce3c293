"""vLLM's flags that have no setting here, so that a command line made for vLLM works as it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from jaxpaged.arguments.values import any_value
from jaxpaged.arguments.vllm import VLLM_FLAGS, take_vllm_arguments
from jaxpaged.arguments.vllm_argument import VllmArgument

SHORT = {
    "compilation_config": "-cc",
    "optimization_level": "-O",
    "attention_config": "-ac",
    "speculative_config": "-sc",
    "diffusion_config": "-dc",
    "pipeline_parallel_size": "-pp",
    "prefill_context_parallel_size": "-pcp",
    "decode_context_parallel_size": "-dcp",
    "nnodes": "-n",
    "node_rank": "-r",
    "data_parallel_rank": "-dpn",
    "data_parallel_start_rank": "-dpr",
    "data_parallel_size_local": "-dpl",
    "data_parallel_address": "-dpa",
    "data_parallel_rpc_port": "-dpp",
    "data_parallel_backend": "-dpb",
    "data_parallel_hybrid_lb": "-dph",
    "data_parallel_external_lb": "-dpe",
    "data_parallel_multi_port_external_lb": "-dpm",
    "api_server_count": "-asc",
}
_LISTS = frozenset(
    "cudagraph_capture_sizes cuda_graph_sizes allowed_media_domains offload_params cpu_offload_params device_ids "
    "numa_bind_nodes numa_bind_cpus lora_target_modules kv_cache_dtype_skip_layers sleep_preserve_parameter_names "
    "ignore_patterns collect_detailed_traces long_lora_scaling_factors lora_modules logits_processors".split()
)
_OPTIONAL_VALUE = frozenset(("hf_token",))  # True where no value follows


def add_vllm_flags(parser: argparse.ArgumentParser, table: Mapping[str, VllmArgument] = VLLM_FLAGS) -> None:
    """A flag for each argument of the table; --help names none of them."""
    group = parser.add_argument_group(
        "vLLM's other flags", "taken with a log line where they cannot change an answer, refused by name where they can"
    )
    for name, argument in table.items():
        names = [_flag(name), *([SHORT[name]] if name in SHORT else [])]
        shared: dict[str, Any] = {"dest": name, "default": None, "help": argparse.SUPPRESS}
        if name in _OPTIONAL_VALUE:
            group.add_argument(*names, nargs="?", const=True, **shared)
        elif any(isinstance(value, bool) for value in argument.same):
            group.add_argument(*names, action=argparse.BooleanOptionalAction, **shared)
        else:
            group.add_argument(*names, type=any_value, nargs="+" if name in _LISTS else None, **shared)


def take_vllm_flags(args: argparse.Namespace, table: Mapping[str, VllmArgument] = VLLM_FLAGS) -> None:
    """Log those that change nothing. Raises ConfigError for one that cannot be had."""
    take_vllm_arguments({name: getattr(args, name, None) for name in table}, _spelled, table)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spelled(name: str, value: Any) -> str:
    flag = _flag(name)
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {value if isinstance(value, str) else json.dumps(value)}"
