"""The command line. What is listed here is public: programs beside this package read their flags the same way."""

from jaxpaged.arguments.flags import add_engine_class, add_engine_flags, engine_config
from jaxpaged.arguments.settings import changed_settings
from jaxpaged.arguments.values import integer, positive_seconds
from jaxpaged.cli.outcome import run_command
from jaxpaged.cli.parser import parse

__all__ = [
    "add_engine_class",
    "add_engine_flags",
    "changed_settings",
    "engine_config",
    "integer",
    "parse",
    "positive_seconds",
    "run_command",
]
