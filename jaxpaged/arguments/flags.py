"""EngineConfig as command-line flags: one for each field, named as vLLM's."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxpaged.arguments.settings import DTYPES, LOAD_FORMATS, PARTS, argument_name, config_of, flagged
from jaxpaged.arguments.values import context_length, integer, json_object, number
from jaxpaged.arguments.vllm_flags import add_vllm_flags, take_vllm_flags
from jaxpaged.config import EngineConfig

OTHER_NAMES = {
    "tensor_parallel_size": ("-tp",),
    "enable_expert_parallel": ("-ep",),
    "data_parallel_size": ("-dp",),
    "quantization": ("-q",),
    "gpu_memory_utilization": ("--device-memory-utilization",),
}
LISTS = frozenset(("served_model_name",))
HELP = {
    "model": "a directory, a GGUF file or a hub id (org/name, org/name:Q4_K_M); without one, the bundled demo model",
    "tokenizer": "a directory or hub id to take the tokenizer from, if not the model's own",
    "revision": "branch, tag or commit of the model on the hub",
    "dtype": "precision of weights and activations; auto takes what the model's config.json says",
    "max_model_len": "longest prompt plus answer, in tokens (32k = 32000, 32K = 32768); by default, or by auto, "
    "the model's own or what the memory holds of it",
    "seed": "seed of everything random that a request does not seed itself",
    "load_format": "where weights come from; auto takes a converted checkpoint where there is one, else safetensors; "
    "dummy makes random ones from config.json alone",
    "quantization": "quantize the weights while loading",
    "hf_overrides": "JSON object put over the model's config.json",
    "download_dir": "where models from the hub are kept, if not in HF_HOME",
    "served_model_name": "the name that clients know the model by; of several, the first stands in answers and metrics",
    "generation_config": "auto takes sampling defaults from the model's generation_config.json, vllm does not; a "
    "directory has another such file",
    "override_generation_config": "JSON object put over generation_config.json, or over vllm's defaults",
    "max_logprobs": "most log probabilities per token that a request may ask for (-1 = the whole vocabulary)",
    "logprobs_mode": "what logprobs show: before (raw) or after (processed) penalties, temperature and the like",
    "skip_tokenizer_init": "token ids in, token ids out, no tokenizer",
    "enable_prompt_embeds": "accept prompts as embeddings",
    "reasoning_config": "JSON object with reasoning_start_str and reasoning_end_str, the marks around a thought, for "
    "requests with a thinking_token_budget; a server takes those of its --reasoning-parser where they are not said",
    "block_size": "tokens per KV page, a power of two (default: what suits the device)",
    "gpu_memory_utilization": "share of the device memory to use",
    "kv_cache_memory_bytes": "bytes for the KV pages, instead of what is left (4G = 4 GiB)",
    "num_gpu_blocks_override": "number of KV pages, instead of what fits",
    "enable_prefix_caching": "share the pages of prompts that begin alike",
    "max_num_seqs": "most sequences that run at once (default: what suits the device)",
    "max_num_batched_tokens": "most tokens in one step; longer prompts are cut into chunks "
    "(default: what suits the device)",
    "policy": "who comes first: fcfs (first come, first served) or priority (the request's)",
    "max_queued_requests": "most sequences that wait; more are refused with 503",
    "stream_interval": "tokens in an event of a stream, where the request says nothing; the first comes at once",
    "plans_in_flight": "steps planned ahead of the device",
    "tensor_parallel_size": "devices that share each layer",
    "data_parallel_size": "shards of the batch, each with its own pages",
    "enable_expert_parallel": "each of the tensor_parallel_size devices has whole experts, not a share of every one",
    "cache_dir": "where compiled programs are kept, if not in the user's cache folder",
    "persistent_cache": "keep compiled programs for the next start",
    "layer_loop": "how the layers of a program are written; auto suits the device",
    "cpu_matmul": "what multiplies on a CPU: onednn, by weights that are laid out once, or xla; auto tries",
    "threads": "threads that compile; as many as there are cores by default",
    "guard": "a step that compiles after ready is counted in the metrics, or refused: that ends the engine",
}


def add_engine_flags(parser: argparse.ArgumentParser, *, model_positional: bool = True) -> None:
    """One flag for each field of EngineConfig's parts."""
    if model_positional:
        parser.add_argument("model_tag", nargs="?", metavar="MODEL", help=HELP["model"])
    for part in PARTS:
        group = parser.add_argument_group(part.title)
        types_of = get_type_hints(part.config)
        for item in flagged(part):
            _add_field(group, item, types_of[item.name])
    add_vllm_flags(parser)


def add_engine_class(group: argparse._ArgumentGroup) -> None:
    """A hidden flag: another engine, to test what stands around it."""
    group.add_argument("--engine-class", default="jaxpaged.engine.engine:Engine", help=argparse.SUPPRESS)


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """The EngineConfig that parsed flags describe. Raises ConfigError."""
    take_vllm_flags(args)
    given = vars(args)
    if given.get("model_tag") is not None:
        given = {**given, "model": given["model_tag"]}
    config = config_of(given)
    config.validate()
    return config


def flag_name(field_name: str) -> str:
    """Without its dashes in front."""
    return argument_name(field_name).replace("_", "-")


def _add_field(group: argparse._ArgumentGroup, item: Field[Any], kind: Any) -> None:
    names = [f"--{flag_name(item.name)}", *OTHER_NAMES.get(item.name, ())]
    default = None if item.default is MISSING else item.default
    shown = "" if default is None else f" (default: {default})"
    keywords: dict[str, Any] = {"dest": argument_name(item.name), "default": None, "help": HELP[item.name] + shown}
    kind = _without_none(kind)
    if kind is bool:
        group.add_argument(*names, action=argparse.BooleanOptionalAction, **keywords)
    elif get_origin(kind) is Literal:
        group.add_argument(*names, type=_FIELDS.get(item.name, str), choices=get_args(kind), **keywords)
    else:
        keywords["metavar"] = item.name.rsplit("_", 1)[-1].upper()
        if item.name in LISTS:
            keywords["nargs"] = "+"
        group.add_argument(*names, type=_FIELDS.get(item.name) or _CONVERTERS[get_origin(kind) or kind], **keywords)


def _dtype(text: str) -> str:
    return DTYPES.get(text, text)


def _load_format(text: str) -> str:
    return LOAD_FORMATS.get(text, text)


_CONVERTERS: dict[Any, Callable[[str], Any]] = {int: integer, float: number, str: str, Mapping: json_object}
_FIELDS: dict[str, Callable[[str], Any]] = {
    "max_model_len": context_length,
    "dtype": _dtype,
    "load_format": _load_format,
}


def _without_none(kind: Any) -> Any:
    """The first kind of a union that is not None."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind, *_) = [branch for branch in get_args(kind) if branch is not type(None)]
    return kind
