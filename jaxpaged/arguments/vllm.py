"""vLLM's engine arguments that have no setting here, for every face: LLM(...), flags, YAML files and variables.

One that cannot change an answer is a hint: it is taken, and a log line says what happens instead. One that would change
an answer, or that a user relies on, is refused by name.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxpaged.arguments.settings import SETTINGS
from jaxpaged.arguments.vllm_argument import VllmArgument
from jaxpaged.arguments.vllm_machine import COMPILING, DEVICES, MEMORY, SCHEDULE
from jaxpaged.arguments.vllm_model import ADAPTERS, ANSWERS, MEDIA, READING
from jaxpaged.arguments.vllm_reports import REPORTS, SERVER_ONLY
from jaxpaged.errors import ConfigError

log = logging.getLogger("jaxpaged")

VLLM_FLAGS: dict[str, VllmArgument] = {
    **READING, **COMPILING, **MEMORY, **ANSWERS, **ADAPTERS, **DEVICES, **SCHEDULE, **REPORTS, **MEDIA,
}  # fmt: skip
VLLM_ONLY: dict[str, VllmArgument] = {**VLLM_FLAGS, **SERVER_ONLY}


def _in_python(name: str, value: Any) -> str:
    return f"{name}={value!r}"


def take_vllm_arguments(
    given: Mapping[str, Any],
    spelled: Callable[[str, Any], str] = _in_python,
    table: Mapping[str, VllmArgument] = VLLM_ONLY,
) -> None:
    """Log what is a hint; None is nothing said. Raises ConfigError for what asks for more.

    `spelled` writes an argument as its user did.
    """
    hints = []
    for name, value in given.items():
        argument = table[name]
        if value is None or value in argument.same:
            continue
        if not argument.is_hint(value):
            value = "..." if name == "hf_token" else value  # a secret
            raise ConfigError(f"{spelled(name, value)} cannot be had: {argument.why}.")
        hints.append(f"{spelled(name, value)} changes nothing: {argument.why}")
    for line in hints:
        log.warning(line)


def check_other_arguments(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """The arguments of LLM() that it does not take itself.

    Raises ConfigError for one that cannot be had, and TypeError, with the closest name, for an unknown one.
    """
    for name in others:
        if name not in VLLM_ONLY and name not in SETTINGS:
            close = difflib.get_close_matches(name, [*known, *SETTINGS, *VLLM_ONLY], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"LLM() got an unexpected keyword argument {name!r}{hint}")
    take_vllm_arguments({name: value for name, value in others.items() if name in VLLM_ONLY})
