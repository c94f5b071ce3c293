"""vLLM 0.32.0's public Python surface, held as data in vllm_surface.py and compared with ours: users change one import.

What differs on purpose stands in a table with its reason; a difference that no table names fails, and so does one that
no longer exists.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from jaxpaged.arguments.vllm import VLLM_ONLY
from jaxpaged.llm import LLM
from jaxpaged.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from tests.api.vllm_surface import (
    BEAM_SEARCH,
    CHAT,
    COMPLETION_OUTPUT,
    COMPLETION_OUTPUT_ABSENT,
    COMPLETION_OUTPUT_OURS,
    ENGINE_ARGS,
    GENERATE,
    LLM_INIT,
    LLM_INIT_DIFFERENT,
    LLM_INIT_OURS,
    LOGPROB,
    LOGPROB_OURS,
    METHODS,
    METHODS_ABSENT,
    METRICS,
    METRICS_ABSENT,
    REQUEST_OUTPUT,
    REQUEST_OUTPUT_ABSENT,
    REQUEST_OUTPUT_OURS,
    SAMPLING_PARAMS,
    SAMPLING_PARAMS_ABSENT,
)


def parameters(callable_: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults, without self."""
    found = inspect.signature(callable_).parameters
    return {name: parameter.default for name, parameter in found.items() if name != "self" and not name.startswith("_")}


@pytest.mark.parametrize(
    ("ours", "theirs", "absent", "added"),
    [
        (LLM.generate, GENERATE, {}, {}),
        (LLM.chat, CHAT, {}, {}),
        (LLM.beam_search, BEAM_SEARCH, {}, {}),
        (SamplingParams, SAMPLING_PARAMS, SAMPLING_PARAMS_ABSENT, {}),
        (CompletionOutput, COMPLETION_OUTPUT, COMPLETION_OUTPUT_ABSENT, COMPLETION_OUTPUT_OURS),
        (Logprob, LOGPROB, {}, LOGPROB_OURS),
        (RequestOutput, REQUEST_OUTPUT, REQUEST_OUTPUT_ABSENT, REQUEST_OUTPUT_OURS),
        (RequestMetrics, METRICS, METRICS_ABSENT, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_and_defaults(
    ours: Callable[..., Any], theirs: Mapping[str, Any], absent: Mapping[str, str], added: Mapping[str, str]
) -> None:
    wanted = {name: default for name, default in theirs.items() if name not in absent}
    found = {name: default for name, default in parameters(ours).items() if name not in added}
    assert found == wanted
    assert absent.keys() <= theirs.keys()
    assert added.keys() <= parameters(ours).keys()


def test_generate_and_chat_take_the_same_arguments_by_position() -> None:
    """In vLLM 0.32 use_tqdm and what follows are by keyword in generate(), by position in chat()."""
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    generate = [p.name for p in inspect.signature(LLM.generate).parameters.values() if p.kind is not keyword_only]
    chat = [p.name for p in inspect.signature(LLM.chat).parameters.values() if p.kind is not keyword_only]
    assert generate == ["self", "prompts", "sampling_params"]
    assert chat == ["self", *CHAT]


def test_every_argument_of_llm_is_taken_or_decided() -> None:
    ours = parameters(LLM.__init__)
    theirs = LLM_INIT | ENGINE_ARGS
    for name, default in theirs.items():
        if name in LLM_INIT_DIFFERENT:
            assert ours[name] != default
        elif name in ours:
            assert ours[name] == default, name
        else:
            assert default is None or default in VLLM_ONLY[name].same, name  # None is nothing said
    assert set(ours) - set(theirs) == set(LLM_INIT_OURS)
    assert not set(ours) & set(VLLM_ONLY)


def test_only_the_model_is_given_by_position() -> None:
    kinds = {name: parameter.kind for name, parameter in inspect.signature(LLM).parameters.items()}
    assert kinds.pop("model") is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert kinds.pop("others") is inspect.Parameter.VAR_KEYWORD
    assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}


def test_methods() -> None:
    present = {name for name in METHODS if hasattr(LLM, name)}
    assert present == set(METHODS) - set(METHODS_ABSENT)
    assert set(METHODS_ABSENT) <= set(METHODS)


def test_output_kinds() -> None:
    assert {kind.name: kind.value for kind in RequestOutputKind} == {"CUMULATIVE": 0, "DELTA": 1, "FINAL_ONLY": 2}
