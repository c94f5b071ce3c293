"""The command line. What is listed here is public: programs beside this package read their flags the same way."""

from jaxpaged.arguments.flags import add_engine_class, add_engine_flags, engine_config
from jaxpaged.arguments.settings import changed_settings
from jaxpaged.arguments.values import (
    integer,
    json_list,
    json_object,
    not_negative,
    positive,
    positive_seconds,
    seconds_or_none,
)
from jaxpaged.arguments.vllm_server import add_vllm_server_flags, take_vllm_server_flags
from jaxpaged.cli.outcome import run_command
from jaxpaged.cli.parser import parse

__all__ = [
    "add_engine_class",
    "add_engine_flags",
    "add_vllm_server_flags",
    "changed_settings",
    "engine_config",
    "integer",
    "json_list",
    "json_object",
    "not_negative",
    "parse",
    "positive",
    "positive_seconds",
    "run_command",
    "seconds_or_none",
    "take_vllm_server_flags",
]
