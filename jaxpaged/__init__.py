"""jaxpaged serves large language models in pure JAX. `import jaxpaged` is cheap: each name is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpaged.async_llm import AsyncLLM
    from jaxpaged.config import EngineConfig
    from jaxpaged.engine.engine import Engine
    from jaxpaged.errors import ConfigError, EngineDeadError, JaxPagedError, RequestError
    from jaxpaged.frontend.beam_output import BeamSearchOutput, BeamSearchSequence
    from jaxpaged.frontend.cached_prefix import CachedPrefix
    from jaxpaged.llm import LLM
    from jaxpaged.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
    from jaxpaged.params.structured import StructuredOutputsParams
    from jaxpaged.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
    from jaxpaged.text.prompts import EmbedsPrompt, PromptType, TextPrompt, TokensPrompt

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "AsyncLLM",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CachedPrefix",
    "CompletionOutput",
    "ConfigError",
    "EmbedsPrompt",
    "Engine",
    "EngineConfig",
    "EngineDeadError",
    "JaxPagedError",
    "Logprob",
    "PromptType",
    "RequestError",
    "RequestMetrics",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "StructuredOutputsParams",
    "TextPrompt",
    "TokensPrompt",
    "__version__",
]

_HOMES = {
    "LLM": "jaxpaged.llm",
    "AsyncLLM": "jaxpaged.async_llm",
    "BeamSearchOutput": "jaxpaged.frontend.beam_output",
    "BeamSearchParams": "jaxpaged.sampling_params",
    "BeamSearchSequence": "jaxpaged.frontend.beam_output",
    "CachedPrefix": "jaxpaged.frontend.cached_prefix",
    "CompletionOutput": "jaxpaged.outputs",
    "ConfigError": "jaxpaged.errors",
    "EmbedsPrompt": "jaxpaged.text.prompts",
    "Engine": "jaxpaged.engine.engine",
    "EngineConfig": "jaxpaged.config",
    "EngineDeadError": "jaxpaged.errors",
    "JaxPagedError": "jaxpaged.errors",
    "Logprob": "jaxpaged.outputs",
    "PromptType": "jaxpaged.text.prompts",
    "RequestError": "jaxpaged.errors",
    "RequestMetrics": "jaxpaged.outputs",
    "RequestOutput": "jaxpaged.outputs",
    "RequestOutputKind": "jaxpaged.sampling_params",
    "SamplingParams": "jaxpaged.sampling_params",
    "StructuredOutputsParams": "jaxpaged.params.structured",
    "TextPrompt": "jaxpaged.text.prompts",
    "TokensPrompt": "jaxpaged.text.prompts",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'jaxpaged' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
