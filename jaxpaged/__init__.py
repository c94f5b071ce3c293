"""jaxpaged serves large language models in pure JAX. `import jaxpaged` is cheap: each name is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpaged.arguments.engine_args import AsyncEngineArgs, EngineArgs
    from jaxpaged.async_llm import AsyncLLM, AsyncLLMEngine
    from jaxpaged.config import EngineConfig
    from jaxpaged.engine.engine import Engine
    from jaxpaged.engine.report import StartChoice
    from jaxpaged.engine_process.supervisor import RestartPolicy
    from jaxpaged.errors import (
        ConfigError,
        EngineDeadError,
        EngineRestartingError,
        JaxPagedError,
        QueueFullError,
        RequestError,
        ShuttingDownError,
    )
    from jaxpaged.frontend.beam_output import BeamSearchOutput, BeamSearchSequence
    from jaxpaged.frontend.cached_prefix import CachedPrefix
    from jaxpaged.frontend.embeds import read_embeds
    from jaxpaged.frontend.gate import PAUSED
    from jaxpaged.frontend.input_processor import PreparedRequest
    from jaxpaged.frontend.observation import RequestObserver, observing
    from jaxpaged.frontend.output_stream import OutputStream
    from jaxpaged.llm import LLM
    from jaxpaged.models.custom import register_architecture
    from jaxpaged.outputs import CompletionOutput, Logprob, RequestMetrics, RequestOutput
    from jaxpaged.params.adapter import LoRARequest
    from jaxpaged.params.calls import CallForm, Calls
    from jaxpaged.params.pooling import PoolingParams
    from jaxpaged.params.ranges import sampling_limits, token_id_list_limits
    from jaxpaged.params.structured import StructuredOutputsParams
    from jaxpaged.params.thought import Thought
    from jaxpaged.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
    from jaxpaged.text.chat_template import ChatOptions, RenderedChat, read_chat_template
    from jaxpaged.text.prompts import EmbedsPrompt, PromptType, TextPrompt, TokensPrompt
    from jaxpaged.text.special_tokens import with_special_tokens
    from jaxpaged.text.tokenizer_info import tokenizer_info
    from jaxpaged.text.truncation import Truncation

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "PAUSED",
    "AsyncEngineArgs",
    "AsyncLLM",
    "AsyncLLMEngine",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CachedPrefix",
    "CallForm",
    "Calls",
    "ChatOptions",
    "CompletionOutput",
    "ConfigError",
    "EmbedsPrompt",
    "Engine",
    "EngineArgs",
    "EngineConfig",
    "EngineDeadError",
    "EngineRestartingError",
    "JaxPagedError",
    "LoRARequest",
    "Logprob",
    "OutputStream",
    "PoolingParams",
    "PreparedRequest",
    "PromptType",
    "QueueFullError",
    "RenderedChat",
    "RequestError",
    "RequestMetrics",
    "RequestObserver",
    "RequestOutput",
    "RequestOutputKind",
    "RestartPolicy",
    "SamplingParams",
    "ShuttingDownError",
    "StartChoice",
    "StructuredOutputsParams",
    "TextPrompt",
    "Thought",
    "TokensPrompt",
    "Truncation",
    "__version__",
    "observing",
    "read_chat_template",
    "read_embeds",
    "register_architecture",
    "sampling_limits",
    "token_id_list_limits",
    "tokenizer_info",
    "with_special_tokens",
]

_HOMES = {
    "PAUSED": "jaxpaged.frontend.gate",
    "AsyncEngineArgs": "jaxpaged.arguments.engine_args",
    "AsyncLLM": "jaxpaged.async_llm",
    "AsyncLLMEngine": "jaxpaged.async_llm",
    "LoRARequest": "jaxpaged.params.adapter",
    "PoolingParams": "jaxpaged.params.pooling",
    "BeamSearchOutput": "jaxpaged.frontend.beam_output",
    "BeamSearchParams": "jaxpaged.sampling_params",
    "BeamSearchSequence": "jaxpaged.frontend.beam_output",
    "CachedPrefix": "jaxpaged.frontend.cached_prefix",
    "CallForm": "jaxpaged.params.calls",
    "Calls": "jaxpaged.params.calls",
    "ChatOptions": "jaxpaged.text.chat_template",
    "CompletionOutput": "jaxpaged.outputs",
    "ConfigError": "jaxpaged.errors",
    "EmbedsPrompt": "jaxpaged.text.prompts",
    "Engine": "jaxpaged.engine.engine",
    "EngineArgs": "jaxpaged.arguments.engine_args",
    "EngineConfig": "jaxpaged.config",
    "EngineDeadError": "jaxpaged.errors",
    "EngineRestartingError": "jaxpaged.errors",
    "JaxPagedError": "jaxpaged.errors",
    "LLM": "jaxpaged.llm",
    "Logprob": "jaxpaged.outputs",
    "OutputStream": "jaxpaged.frontend.output_stream",
    "PreparedRequest": "jaxpaged.frontend.input_processor",
    "PromptType": "jaxpaged.text.prompts",
    "QueueFullError": "jaxpaged.errors",
    "RenderedChat": "jaxpaged.text.chat_template",
    "RequestError": "jaxpaged.errors",
    "RequestMetrics": "jaxpaged.outputs",
    "RequestObserver": "jaxpaged.frontend.observation",
    "RequestOutput": "jaxpaged.outputs",
    "RequestOutputKind": "jaxpaged.sampling_params",
    "RestartPolicy": "jaxpaged.engine_process.supervisor",
    "SamplingParams": "jaxpaged.sampling_params",
    "ShuttingDownError": "jaxpaged.errors",
    "StartChoice": "jaxpaged.engine.report",
    "StructuredOutputsParams": "jaxpaged.params.structured",
    "TextPrompt": "jaxpaged.text.prompts",
    "Thought": "jaxpaged.params.thought",
    "TokensPrompt": "jaxpaged.text.prompts",
    "Truncation": "jaxpaged.text.truncation",
    "observing": "jaxpaged.frontend.observation",
    "read_chat_template": "jaxpaged.text.chat_template",
    "read_embeds": "jaxpaged.frontend.embeds",
    "register_architecture": "jaxpaged.models.custom",
    "sampling_limits": "jaxpaged.params.ranges",
    "token_id_list_limits": "jaxpaged.params.ranges",
    "tokenizer_info": "jaxpaged.text.tokenizer_info",
    "with_special_tokens": "jaxpaged.text.special_tokens",
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
