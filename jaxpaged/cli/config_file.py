"""--config FILE: flags from a YAML file, by their names without the dashes. The environment and the flags given win.

model: Qwen/Qwen3-0.6B
max-model-len: 32k
api-key: [first, second]
enable-prefix-caching: false
"""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jaxpaged.errors import ConfigError


def read_defaults(parser: argparse.ArgumentParser, path: str) -> dict[str, Any]:
    """Destination -> value of every flag in the file, for parser.set_defaults(). Raises ConfigError."""
    actions = {name: action for action in parser._actions for name in _names(action)}
    defaults = {}
    for key, value in _read(path).items():
        name = str(key).replace("_", "-")
        action = actions.get(name)
        if action is None or name in ("config", "help"):
            close = difflib.get_close_matches(name, actions, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{_quoted(path)}: there is no flag --{name}{hint}")
        try:
            defaults[action.dest] = _converted(action, value)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise ConfigError(f"{_quoted(path)}: {name}: {error}.") from error
    return defaults


def _read(path: str) -> Mapping[Any, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"The configuration {_quoted(path)} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The configuration {_quoted(path)} is not a text file.") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f" in line {where.line + 1}"
        raise ConfigError(f"The configuration {_quoted(path)} is not YAML{line}.") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"The configuration {_quoted(path)} must hold lines of the form `flag: value`.")
    return content


def _names(action: argparse.Action) -> list[str]:
    """Long spellings without the dashes; of a flag that has a --no- form, the plain one."""
    long = [option[2:] for option in action.option_strings if option.startswith("--")]
    return long[:1] if isinstance(action, argparse.BooleanOptionalAction) else long


def _converted(action: argparse.Action, value: Any) -> Any:
    """What the parser would have made of the value on the command line."""
    if value is None:
        return action.default
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction):
        return [_scalar(action, one) for one in (value if isinstance(value, list) else [value])]
    return _scalar(action, value)


def _scalar(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, Mapping):
        value = json.dumps(value)
    if isinstance(value, (bool, list)) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not a single value")
    convert = action.type if callable(action.type) else str
    try:
        made = convert(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a valid {getattr(convert, '__name__', 'value')}") from None
    if action.choices is not None and made not in action.choices:
        raise ValueError(f"{made!r} is not one of {', '.join(map(str, action.choices))}")
    return made


def _quoted(path: str) -> str:
    return shlex.quote(path)
