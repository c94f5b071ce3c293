"""vLLM's engine arguments that have no setting here, for every face: LLM(...), flags, YAML files and variables.

One that cannot change an answer is a hint: it is taken, and a log line says what happens instead. One that would change
an answer, or that a user relies on, is refused by name.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jaxpaged.errors import ConfigError

log = logging.getLogger("jaxpaged")

_TEXT_ONLY = "this engine serves text models only"
_LATER = "it is not there yet"
_XLA = "XLA decides it"
_COMPILED = "XLA compiles every program before the engine is ready"
_ON_DEVICE = "weights stay on the device"
_KERNEL = "the device chooses its kernels"
_NO_REMOTE_CODE = "no code from a model directory is ever run"
_ONE_PROCESS = "one process drives all its devices; give tensor_parallel_size"
_STATISTICS = "statistics are always kept; see get_metrics()"
_REQUESTS = "requests are logged by their ids, never by their text"


class VllmArgument(NamedTuple):
    """`same`: values that say what is so anyway. `why`: what happens instead, or why another cannot be had.

    `is_hint` says of any other value whether it can be ignored without changing an answer.
    """

    same: tuple[Any, ...]
    why: str
    is_hint: Callable[[Any], bool] = lambda value: False


def _hint(*same: Any, why: str) -> VllmArgument:
    """Every value can be ignored."""
    return VllmArgument(same, why, lambda value: True)


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


def _only_a_backend(value: Any) -> bool:
    """Grammars of every backend allow the same texts; the other settings of structured output do not."""
    return isinstance(value, Mapping) and value.keys() <= {"backend"}


VLLM_ONLY: dict[str, VllmArgument] = {
    # the model and how it is read
    "runner": VllmArgument(("auto", "generate"), "only generation is there yet"),
    "convert": VllmArgument(("auto", "none"), "only generation is there yet"),
    "tokenizer_mode": VllmArgument(("auto", "hf"), "tokenizers are Hugging Face's fast ones", _one_of("slow")),
    "trust_remote_code": _hint(False, why=_NO_REMOTE_CODE),
    "tokenizer_revision": VllmArgument((None,), "give the tokenizer's directory in tokenizer="),
    "code_revision": _hint(None, why=_NO_REMOTE_CODE),
    "config_format": VllmArgument(("auto", "hf"), "config.json is read in Hugging Face's format"),
    "model_impl": _hint("auto", why="there is one implementation"),
    "hf_token": VllmArgument((None, True), "log in with `hf auth login`"),
    "override_generation_config": VllmArgument((None, {}), "pass SamplingParams, or use generation_config='vllm'"),
    "model_loader_extra_config": _hint(None, {}, why="Orbax reads weights as fast as the disk gives them"),
    "safetensors_load_strategy": _hint(None, "lazy", why="Orbax reads weights as fast as the disk gives them"),
    "max_parallel_loading_workers": _hint(None, why="Orbax reads weights as fast as the disk gives them"),
    # compiling and kernels
    "enforce_eager": _hint(False, why=_COMPILED),
    "compilation_config": _hint(None, {}, why=_COMPILED),
    "optimization_level": _hint(None, why=_COMPILED),
    "cudagraph_capture_sizes": _hint(None, why=_COMPILED),
    "max_cudagraph_capture_size": _hint(None, why=_COMPILED),
    "performance_mode": _hint(None, "balanced", why="there is one mode"),
    "attention_config": _hint(None, {}, why=_KERNEL),
    "attention_backend": _hint(None, why=_KERNEL),
    "moe_backend": _hint(None, "auto", why=_KERNEL),
    "kernel_config": _hint(None, {}, why=_KERNEL),
    "enable_flashinfer_autotune": _hint(None, False, why=_KERNEL),
    "disable_custom_all_reduce": _hint(False, why=_XLA),
    "disable_cascade_attn": _hint(None, False, why=_XLA),
    "enable_dbo": _hint(False, why=_XLA),
    # memory
    "swap_space": _hint(0, why="preempted requests are computed again, never swapped"),
    "cpu_offload_gb": VllmArgument((0,), _ON_DEVICE),
    "offload_group_size": VllmArgument((0,), _ON_DEVICE),
    "offload_num_in_group": VllmArgument((1,), _ON_DEVICE),
    "offload_prefetch_step": VllmArgument((1,), _ON_DEVICE),
    "offload_params": VllmArgument((None, set()), _ON_DEVICE),
    "kv_cache_dtype": VllmArgument(("auto",), "the cache has the model's dtype"),
    "calculate_kv_scales": VllmArgument((False,), "the cache has the model's dtype"),
    "kv_transfer_config": VllmArgument((None,), _LATER),
    "kv_events_config": VllmArgument((None,), _LATER),
    "prefix_caching_hash_algo": _hint("sha256", why="the hash is a secure one, always"),
    "disable_hybrid_kv_cache_manager": _hint(None, False, why="every kind of layer has its own pages"),
    "enable_sleep_mode": VllmArgument((False, True), "sleep() is always there"),
    # what an answer is made of
    "enable_lora": VllmArgument((False,), _LATER),
    "speculative_config": VllmArgument((None,), _LATER),
    "spec_method": VllmArgument((None,), _LATER),
    "spec_model": VllmArgument((None,), _LATER),
    "spec_tokens": VllmArgument((None,), _LATER),
    "structured_outputs_config": VllmArgument(
        (None, {}, {"backend": "auto"}, {"backend": "guidance"}),
        "grammars are llguidance's; say the rest in StructuredOutputsParams",
        _only_a_backend,
    ),
    "quantization_config": VllmArgument((None, {}), "choose a scheme with quantization="),
    "disable_sliding_window": VllmArgument((False,), "windows are part of the model"),
    "enable_return_routed_experts": VllmArgument((False,), _LATER),
    "return_sampling_mask": VllmArgument((False,), _LATER),
    "pooler_config": VllmArgument((None,), "only generation is there yet"),
    # processes and devices
    "pipeline_parallel_size": VllmArgument((1,), _LATER),
    "enable_expert_parallel": VllmArgument((False,), _LATER),
    "distributed_executor_backend": VllmArgument((None, "uni"), _ONE_PROCESS, _one_of("mp", "ray")),
    "data_parallel_backend": _hint("mp", why="one process drives all its devices; give data_parallel_size"),
    "worker_cls": _hint(None, "auto", why="there are no workers"),
    "worker_extension_cls": _hint(None, "", why="there are no workers"),
    "additional_config": _hint(None, {}, why="no platform reads it"),
    # scheduling
    "enable_chunked_prefill": _hint(None, True, why="prompts are always cut into chunks"),
    "async_scheduling": _hint(None, True, why="steps always overlap"),
    "long_prefill_token_threshold": _hint(0, why="max_num_batched_tokens bounds a chunk"),
    "max_num_partial_prefills": _hint(1, why="max_num_batched_tokens bounds a chunk"),
    "max_long_partial_prefills": _hint(1, why="max_num_batched_tokens bounds a chunk"),
    "scheduler_cls": VllmArgument((None,), "there is one scheduler"),
    "stream_interval": VllmArgument((1,), "set it in SamplingParams"),
    # logs, statistics, the server
    "disable_log_stats": _hint(False, why=_STATISTICS),
    "enable_log_requests": _hint(False, why=_REQUESTS),
    "disable_log_requests": _hint(False, True, why=_REQUESTS),
    "max_log_len": _hint(None, why=_REQUESTS),
    "enable_request_id_headers": VllmArgument((False, True), "every answer has an X-Request-Id"),
    "enable_prompt_tokens_details": VllmArgument((False, True), "usage always tells cached tokens"),
    "api_server_count": _hint(None, 1, why="one process answers HTTP"),
    "profiler_config": VllmArgument((None,), "use jax.profiler"),
    # images, sound and video
    "language_model_only": _hint(False, why=_TEXT_ONLY),
    "allowed_local_media_path": _hint("", why=_TEXT_ONLY),
    "allowed_media_domains": _hint(None, why=_TEXT_ONLY),
    "mm_processor_kwargs": _hint(None, {}, why=_TEXT_ONLY),
    "mm_processor_cache_gb": _hint(0, why=_TEXT_ONLY),
    "mm_encoder_tp_mode": _hint(None, "weights", why=_TEXT_ONLY),
    "limit_mm_per_prompt": _hint(None, {}, why=_TEXT_ONLY),
    "skip_mm_profiling": _hint(False, why=_TEXT_ONLY),
}


def _in_python(name: str, value: Any) -> str:
    return f"{name}={value!r}"


def take_vllm_arguments(given: Mapping[str, Any], spelled: Callable[[str, Any], str] = _in_python) -> None:
    """Log what is a hint. Raises ConfigError for what asks for more; `spelled` writes an argument as its user did."""
    hints = []
    for name, value in given.items():
        argument = VLLM_ONLY[name]
        if value in argument.same:
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
        if name not in VLLM_ONLY:
            close = difflib.get_close_matches(name, [*known, *VLLM_ONLY], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"LLM() got an unexpected keyword argument {name!r}{hint}")
    take_vllm_arguments(others)
