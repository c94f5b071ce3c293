"""vLLM's engine arguments that have no setting here: which values are harmless, and what to say about the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxpaged.errors import ConfigError

_TEXT_ONLY = "this engine serves text models only"
_LATER = "it is not there yet"
_XLA = "XLA decides it"

# argument -> (values that change nothing here, why others cannot be had)
VLLM_ONLY: dict[str, tuple[tuple[Any, ...], str]] = {
    "runner": (("auto", "generate"), "only generation is there yet"),
    "convert": (("auto", "none"), "only generation is there yet"),
    "tokenizer_mode": (("auto", "hf"), "tokenizers are Hugging Face's"),
    "trust_remote_code": ((False,), "no code from a model directory is ever run"),
    "tokenizer_revision": ((None,), "give the tokenizer's directory in tokenizer="),
    "code_revision": ((None,), "no code from a model directory is ever run"),
    "config_format": (("auto", "hf"), "config.json is read in Hugging Face's format"),
    "model_impl": (("auto",), "there is one implementation"),
    "hf_token": ((None,), "log in with `hf auth login`"),
    "override_generation_config": ((None, {}), "pass SamplingParams, or use generation_config='vllm'"),
    "enforce_eager": ((False,), "programs are always compiled; leave it out"),
    "compilation_config": ((None, {}), "XLA compiles; leave it out"),
    "optimization_level": ((None,), "XLA compiles; leave it out"),
    "performance_mode": ((None, "balanced"), "there is one mode"),
    "swap_space": ((0, 4), "preempted requests are computed again, never swapped"),
    "cpu_offload_gb": ((0,), "weights stay on the device"),
    "offload_group_size": ((0,), "weights stay on the device"),
    "offload_num_in_group": ((1,), "weights stay on the device"),
    "offload_prefetch_step": ((1,), "weights stay on the device"),
    "offload_params": ((None, set()), "weights stay on the device"),
    "kv_cache_dtype": (("auto",), "the cache has the model's dtype"),
    "calculate_kv_scales": ((False,), "the cache has the model's dtype"),
    "kv_transfer_config": ((None,), _LATER),
    "kv_events_config": ((None,), _LATER),
    "enable_lora": ((False,), _LATER),
    "speculative_config": ((None,), _LATER),
    "spec_method": ((None,), _LATER),
    "spec_model": ((None,), _LATER),
    "spec_tokens": ((None,), _LATER),
    "structured_outputs_config": (
        (None, {}, {"backend": "auto"}, {"backend": "guidance"}),
        "grammars are llguidance's; say the rest in StructuredOutputsParams",
    ),
    "quantization_config": ((None, {}), "choose a scheme with quantization="),
    "pipeline_parallel_size": ((1,), _LATER),
    "enable_expert_parallel": ((False,), _LATER),
    "distributed_executor_backend": ((None, "uni"), "one process drives all its devices; give tensor_parallel_size"),
    "disable_custom_all_reduce": ((False, True), _XLA),
    "enable_return_routed_experts": ((False,), _LATER),
    "return_sampling_mask": ((False,), _LATER),
    "profiler_config": ((None,), "use jax.profiler"),
    "attention_config": ((None,), "the kernel is chosen by the device"),
    "attention_backend": ((None,), "the kernel is chosen by the device"),
    "enable_chunked_prefill": ((None, True), "prompts are always cut into chunks"),
    "async_scheduling": ((None, True), "steps always overlap"),
    "long_prefill_token_threshold": ((0,), "max_num_batched_tokens bounds a chunk"),
    "scheduler_cls": ((None,), "there is one scheduler"),
    "stream_interval": ((1,), "set it in SamplingParams"),
    "prefix_caching_hash_algo": (("sha256",), "the hash is a secure one, always"),
    "disable_sliding_window": ((False,), "windows are part of the model"),
    "disable_cascade_attn": ((None, False, True), _XLA),
    "disable_hybrid_kv_cache_manager": ((None, False), "every kind of layer has its own pages"),
    "disable_log_stats": ((False, True), "statistics are always kept; see get_metrics()"),
    "enable_sleep_mode": ((False, True), "sleep() is always there"),
    "worker_cls": ((None, "auto"), "there are no workers"),
    "additional_config": ((None, {}), "no platform reads it"),
    "pooler_config": ((None,), "only generation is there yet"),
    "allowed_local_media_path": (("",), _TEXT_ONLY),
    "allowed_media_domains": ((None,), _TEXT_ONLY),
    "mm_processor_kwargs": ((None, {}), _TEXT_ONLY),
    "limit_mm_per_prompt": ((None, {}), _TEXT_ONLY),
    "skip_mm_profiling": ((False, True), _TEXT_ONLY),
}


def check_other_arguments(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Accept vLLM's arguments at values that change nothing here.

    Raises ConfigError for one that asks for something, and TypeError, with the closest name, for an unknown one.
    """
    for name, value in others.items():
        if name not in VLLM_ONLY:
            close = difflib.get_close_matches(name, [*known, *VLLM_ONLY], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"LLM() got an unexpected keyword argument {name!r}{hint}")
        harmless, reason = VLLM_ONLY[name]
        if value not in harmless:
            raise ConfigError(f"{name}={value!r} cannot be had: {reason}.")
