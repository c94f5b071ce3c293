"""EngineConfig's fields by the names of vLLM's arguments, and an EngineConfig from such arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

from jaxpaged.config import CacheConfig, CompileConfig, EngineConfig, ModelConfig, ParallelConfig, SchedulerConfig


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
# fields whose argument has another name, because vLLM's has or because the field's says too little alone
NAMES = {
    "policy": "scheduling_policy",
    "max_queued_requests": "max_num_queued_reqs",
    "cache_dir": "compile_cache_dir",
    "persistent_cache": "persistent_compile_cache",
    "threads": "compile_threads",
    "guard": "compile_guard",
}
DTYPES = {"half": "float16", "float": "float32"}  # other names in vLLM
# vLLM's loaders of the same files; auto finds out what a directory holds
LOAD_FORMATS = dict.fromkeys(("hf", "pt", "gguf", "fastsafetensors", "instanttensor", "runai_streamer"), "auto")
FLAGLESS = frozenset(("attention", "variants"))  # of use to programs and tests only


def argument_name(field_name: str) -> str:
    return NAMES.get(field_name, field_name)


def flagged(part: Part) -> list[Field[Any]]:
    """The fields of a part that users set."""
    return [item for item in fields(part.config) if item.name not in FLAGLESS]


SETTINGS = tuple(argument_name(item.name) for part in PARTS for item in flagged(part))


def config_of(arguments: Mapping[str, Any]) -> EngineConfig:
    """The EngineConfig that arguments describe, not validated yet; None is nothing said, other names are ignored."""
    parts = {part.name: replace(part.config(), **_given(part, arguments)) for part in PARTS}
    return EngineConfig(**parts, logits_processors=tuple(arguments.get("logits_processors") or ()))


def changed_settings(config: EngineConfig) -> dict[str, Any]:
    """The fields that differ from their defaults, by the names of their flags."""
    changed = {}
    for part in PARTS:
        mine, default = getattr(config, part.name), part.config()
        for item in flagged(part):
            value = getattr(mine, item.name)
            if value != getattr(default, item.name):
                changed[argument_name(item.name).replace("_", "-")] = value
    return changed


def _given(part: Part, arguments: Mapping[str, Any]) -> dict[str, Any]:
    given = {item.name: arguments.get(argument_name(item.name)) for item in flagged(part)}
    return {name: _FORMS.get(name, _as_it_is)(value) for name, value in given.items() if value is not None}


def _as_it_is(value: Any) -> Any:
    return value


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, Path) else value


def _dtype(value: Any) -> Any:
    """half and float, torch.bfloat16, numpy.float32 and the like by their plain names."""
    name = value if isinstance(value, str) else getattr(value, "__name__", str(value)).removeprefix("torch.")
    return DTYPES.get(name, name)


def _load_format(value: Any) -> Any:
    return LOAD_FORMATS.get(value, value) if isinstance(value, str) else value


def _context(value: Any) -> Any:
    """auto and -1 leave the choice to start-up."""
    return None if value in ("auto", -1) else value


def _names(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# other forms in which vLLM takes a value
_FORMS: dict[str, Callable[[Any], Any]] = {
    "model": _path,
    "tokenizer": _path,
    "download_dir": _path,
    "generation_config": _path,
    "dtype": _dtype,
    "load_format": _load_format,
    "max_model_len": _context,
    "served_model_name": _names,
}
