"""What LLM's methods do with their arguments: defaults, one value for each prompt, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

from jaxpaged.errors import RequestError
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams


def final_only(params: SamplingParams) -> SamplingParams:
    return replace(params, output_kind=RequestOutputKind.FINAL_ONLY)


def per_request[T](value: T | Sequence[T], length: int, name: str) -> list[T]:
    if not isinstance(value, Sequence):
        return [value] * length
    if len(value) != length:
        raise RequestError(f"{name} has {len(value)} entries for {length} prompts; give one, or one for each.", name)
    return list(value)


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


def needs(method: str, kind: str) -> Callable[..., NoReturn]:
    """A method of LLM that this engine cannot serve."""

    def refused(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise RequestError(
            f"LLM.{method}() needs {kind}; this engine serves text-generation models. Use generate() or chat()."
        )

    refused.__name__, refused.__qualname__, refused.__doc__ = method, f"LLM.{method}", f"Needs {kind}."
    return refused
