"""What LLM's methods do with their arguments: defaults, one value for each prompt, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from jaxpaged.errors import RequestError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from jaxpaged.text.chat_template import ChatOptions
from jaxpaged.text.message_forms import ContentFormat
from jaxpaged.text.prompts import prompt_list


def final_only(params: SamplingParams) -> SamplingParams:
    return replace(params, output_kind=RequestOutputKind.FINAL_ONLY)


def per_request[T](value: T | Sequence[T], length: int, name: str, kind: type) -> list[T]:
    """One `value` for all, or a list that pairs with the prompts; each is a `kind`. Raises RequestError."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
        given: list[T] = list(value)
        if len(given) != length:
            raise RequestError(
                f"{name} has {len(given)} entries for {length} prompts; give one, or one for each.", name
            )
    else:
        given = [value] * length
    for one in given:
        if not isinstance(one, kind):
            raise RequestError(f"{name} must be {kind.__name__} or a list of them, not {type(one).__name__}.", name)
    return given


def no_adapter(lora_request: object, prompts: Any) -> None:
    """Refuse adapters, which are not served; None, for all prompts or for each, asks for none."""
    if isinstance(lora_request, list | tuple):
        length = len(prompt_list(prompts))
        if len(lora_request) != length:
            raise RequestError(
                f"lora_request has {len(lora_request)} entries for {length} prompts; give one, or one for each.",
                "lora_request",
            )
        lora_request = next((one for one in lora_request if one is not None), None)
    refuse(lora_request=lora_request)


def chat_options(
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    chat_template_content_format: ContentFormat = "auto",
    **others: Any,
) -> ChatOptions:
    """ChatOptions by chat()'s names of its fields. Raises TypeError for an unknown one."""
    return ChatOptions(**others, template_kwargs=chat_template_kwargs, content_format=chat_template_content_format)


@contextmanager
def naming(batch: str, index: int, length: int) -> Iterator[None]:
    """Say which prompt of a batch an error is about."""
    try:
        yield
    except RequestError as error:
        if length == 1:
            raise
        raise RequestError(f"{batch}[{index}]: {error}", error.param) from error


def refuse(**arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise RequestError(f"{name} is not there yet; leave it out.", name)


_GENERATES = "this engine serves text-generation models. Use generate() or chat()."


def needs(method: str, kind: str, instead: str = _GENERATES) -> Callable[..., NoReturn]:
    """A method of LLM that this engine cannot serve."""

    def refused(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise RequestError(f"LLM.{method}() needs {kind}; {instead}")

    refused.__name__, refused.__qualname__, refused.__doc__ = method, f"LLM.{method}", f"Needs {kind}."
    return refused
