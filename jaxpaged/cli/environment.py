"""JAXPAGED_* variables: `JAXPAGED_MAX_MODEL_LEN=32k` and `--max-model-len 32k` say the same; the flag wins."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping

PREFIX = "JAXPAGED_"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


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
            arguments += _with_values(flag, action, value)
        elif value.lower() in _TRUE:
            arguments.append(flag)
        elif value.lower() not in _FALSE:
            parser.error(f"{environment_name(flag)} must be one of 1, true, yes, on, 0, false, no, off")
        elif isinstance(action, argparse.BooleanOptionalAction):
            arguments.append(f"--no-{flag[2:]}")
    return arguments


def _with_values(flag: str, action: argparse.Action, value: str) -> list[str]:
    """A flag that takes several values takes a JSON list of them."""
    if action.nargs == "+" and value.startswith("["):
        try:
            return [flag, *map(str, json.loads(value))]
        except ValueError:
            pass
    return [f"{flag}={value}"]


def _long_flags(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.Action]]:
    """The first long spelling of every flag of a parser."""
    found = {}
    for action in parser._actions:
        long = [option for option in action.option_strings if option.startswith("--")]
        if long and long[0] not in ("--help", "--version"):
            found[long[0]] = action
    return list(found.items())
