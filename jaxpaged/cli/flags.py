"""EngineConfig as command-line flags: one for each field, named as vLLM's, with a twin in the environment.

`--max-model-len 32k` and JAXPAGED_MAX_MODEL_LEN=32k say the same; the flag wins.
"""

from __future__ import annotations

import argparse
import json
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxpaged.cli.vllm_flags import add_vllm_flags, take_vllm_flags
from jaxpaged.config import CacheConfig, CompileConfig, EngineConfig, ModelConfig, ParallelConfig, SchedulerConfig

PREFIX = "JAXPAGED_"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_MULTIPLES = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of EngineConfig: its attribute, its class, a title for the help."""

    name: str
    config: type[Any]
    title: str


PARTS = (
    Part("model", ModelConfig, "model"),
    Part("cache", CacheConfig, "KV cache"),
    Part("scheduler", SchedulerConfig, "scheduler"),
    Part("parallel", ParallelConfig, "parallelism"),
    Part("compile", CompileConfig, "compilation"),
)
# fields whose flag has another name, because vLLM's has or because the field's says too little alone
NAMES = {
    "policy": "scheduling-policy",
    "max_queued_requests": "max-num-queued-reqs",
    "cache_dir": "compile-cache-dir",
    "persistent_cache": "persistent-compile-cache",
    "threads": "compile-threads",
}
SHORT = {"tensor_parallel_size": "-tp", "data_parallel_size": "-dp"}
HELP = {
    "model": "a model directory or a Hugging Face hub id; without one, the bundled demo model",
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
    "served_model_name": "the name that clients know the model by",
    "generation_config": "auto takes sampling defaults from the model's generation_config.json, vllm does not",
    "max_logprobs": "most log probabilities per token that a request may ask for (-1 = the whole vocabulary)",
    "logprobs_mode": "what logprobs show: before (raw) or after (processed) penalties, temperature and the like",
    "skip_tokenizer_init": "token ids in, token ids out, no tokenizer",
    "enable_prompt_embeds": "accept prompts as embeddings",
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
    "plans_in_flight": "steps planned ahead of the device",
    "tensor_parallel_size": "devices that share each layer",
    "data_parallel_size": "shards of the batch, each with its own pages",
    "cache_dir": "where compiled programs are kept, if not in the user's cache folder",
    "persistent_cache": "keep compiled programs for the next start",
    "layer_loop": "how the layers of a program are written; auto suits the device",
    "threads": "threads that compile; as many as there are cores by default",
}
FLAGLESS = frozenset(("variants",))  # of use to programs and tests only


def add_engine_flags(parser: argparse.ArgumentParser, *, model_positional: bool = True) -> None:
    """One flag for each field of EngineConfig's parts."""
    if model_positional:
        parser.add_argument("model_tag", nargs="?", metavar="MODEL", help=HELP["model"])
    for part in PARTS:
        group = parser.add_argument_group(part.title)
        types_of = get_type_hints(part.config)
        for item in _flagged(part):
            _add_field(group, item, types_of[item.name])
    add_vllm_flags(parser)


def add_engine_class(group: argparse._ArgumentGroup) -> None:
    """A hidden flag: another engine, to test what stands around it."""
    group.add_argument("--engine-class", default="jaxpaged.engine.engine:Engine", help=argparse.SUPPRESS)


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """The EngineConfig that parsed flags describe. Raises ConfigError."""
    take_vllm_flags(args)
    parts = {}
    for part in PARTS:
        given = {item.name: getattr(args, item.name) for item in _flagged(part)}
        parts[part.name] = replace(part.config(), **{name: v for name, v in given.items() if v is not None})
    config = EngineConfig(**parts)
    if getattr(args, "model_tag", None) is not None:
        config = replace(config, model=replace(config.model, model=args.model_tag))
    config.validate()
    return config


def changed_settings(config: EngineConfig) -> dict[str, Any]:
    """The fields that differ from their defaults, by flag name."""
    changed = {}
    for part in PARTS:
        mine, default = getattr(config, part.name), part.config()
        for item in _flagged(part):
            value = getattr(mine, item.name)
            if value != getattr(default, item.name):
                changed[flag_name(item.name)] = value
    return changed


def _flagged(part: Part) -> list[Field[Any]]:
    return [item for item in fields(part.config) if item.name not in FLAGLESS]


def flag_name(field_name: str) -> str:
    """Without its dashes in front."""
    return NAMES.get(field_name, field_name.replace("_", "-"))


def environment_name(flag: str) -> str:
    """The twin of a flag: --max-model-len is JAXPAGED_MAX_MODEL_LEN."""
    return PREFIX + flag.lstrip("-").replace("-", "_").upper()


def from_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str] | None = None) -> list[str]:
    """The arguments that JAXPAGED_* variables stand for, for the flags of `parser`; put them before the real ones.

    A variable that no flag of the parser has is ignored: it may belong to another command.
    """
    environ = os.environ if environ is None else environ
    arguments = []
    for flag, action in _long_flags(parser):
        value = environ.get(environment_name(flag))
        if value is None:
            continue
        if action.nargs != 0:
            arguments.append(f"{flag}={value}")
        elif value.lower() in _TRUE:
            arguments.append(flag)
        elif value.lower() not in _FALSE:
            parser.error(f"{environment_name(flag)} must be one of 1, true, yes, on, 0, false, no, off")
        elif isinstance(action, argparse.BooleanOptionalAction):
            arguments.append(f"--no-{flag[2:]}")
    return arguments


def integer(text: str) -> int:
    """An integer; 32k is 32,000 and 32K is 32,768, as in vLLM."""
    multiple = _MULTIPLES.get(text[-1:], 1)
    digits = text[:-1] if multiple > 1 else text
    try:
        return int(digits) if multiple == 1 else round(float(digits) * multiple)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer (32768, 32k, 32K)") from None


def context_length(text: str) -> int | None:
    """An integer; auto (or -1, as in vLLM) leaves the choice to start-up."""
    return None if text in ("auto", "-1") else integer(text)


def positive_seconds(text: str) -> float:
    """A time that is longer than nothing."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def _long_flags(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.Action]]:
    """The first long spelling of every flag of a parser."""
    found = {}
    for action in parser._actions:
        long = [option for option in action.option_strings if option.startswith("--")]
        if long and long[0] not in ("--help", "--version"):
            found[long[0]] = action
    return list(found.items())


def _add_field(group: argparse._ArgumentGroup, item: Field[Any], kind: Any) -> None:
    names = [f"--{flag_name(item.name)}", *([SHORT[item.name]] if item.name in SHORT else [])]
    default = None if item.default is MISSING else item.default
    shown = "" if default is None else f" (default: {default})"
    keywords: dict[str, Any] = {"dest": item.name, "default": None, "help": HELP[item.name] + shown}
    kind = _without_none(kind)
    if kind is bool:
        group.add_argument(*names, action=argparse.BooleanOptionalAction, **keywords)
    elif get_origin(kind) is Literal:
        group.add_argument(*names, choices=get_args(kind), **keywords)
    else:
        keywords["metavar"] = item.name.rsplit("_", 1)[-1].upper()
        group.add_argument(*names, type=_FIELDS.get(item.name) or _CONVERTERS[get_origin(kind) or kind], **keywords)


_CONVERTERS: dict[Any, Callable[[str], Any]] = {int: integer, float: float, str: str, Mapping: json_object}
_FIELDS: dict[str, Callable[[str], Any]] = {"max_model_len": context_length}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = [branch for branch in get_args(kind) if branch is not type(None)]
    return kind
