"""vLLM's flags that have no setting here, so that a command line made for vLLM works as it is."""

from __future__ import annotations

import argparse
import json
from typing import Any

from jaxpaged.frontend.vllm_arguments import VLLM_ONLY, take_vllm_arguments

SHORT = {
    "compilation_config": "-cc",
    "optimization_level": "-O",
    "attention_config": "-ac",
    "speculative_config": "-sc",
    "pipeline_parallel_size": "-pp",
    "enable_expert_parallel": "-ep",
}
_LISTS = frozenset(("cudagraph_capture_sizes", "allowed_media_domains", "offload_params"))
_DEST = "vllm_"  # beside our own flags in a Namespace


def add_vllm_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each argument of the table; --help names none of them."""
    group = parser.add_argument_group(
        "vLLM's other flags", "taken with a log line where they cannot change an answer, refused by name where they can"
    )
    for name, argument in VLLM_ONLY.items():
        names = [_flag(name), *([SHORT[name]] if name in SHORT else [])]
        shared: dict[str, Any] = {"dest": _DEST + name, "default": None, "help": argparse.SUPPRESS}
        if any(isinstance(value, bool) for value in argument.same):
            group.add_argument(*names, action=argparse.BooleanOptionalAction, **shared)
        else:
            group.add_argument(*names, type=_value, nargs="+" if name in _LISTS else None, **shared)


def take_vllm_flags(args: argparse.Namespace) -> None:
    """Log those that change nothing. Raises ConfigError for one that cannot be had."""
    values = {name: getattr(args, _DEST + name, None) for name in VLLM_ONLY}
    take_vllm_arguments({name: value for name, value in values.items() if value is not None}, _spelled)


def _value(text: str) -> Any:
    """Numbers and objects as JSON writes them; everything else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return None if text in ("None", "none") else text


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spelled(name: str, value: Any) -> str:
    flag = _flag(name)
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {value if isinstance(value, str) else json.dumps(value)}"
