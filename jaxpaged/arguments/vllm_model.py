"""vLLM's arguments about a model, how it is read and what an answer is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpaged.arguments.vllm_argument import VllmArgument, hint, refused, refused_but

_TEXT_ONLY = "this engine serves text models only"
_GENERATION = "only generation is there yet"
_LATER = "it is not there yet"
_ADAPTERS = "adapters are not there yet"
_READING = "Orbax reads weights as fast as the disk gives them"
_NO_REMOTE_CODE = "no code from a model directory is ever run"
_ONE_DIRECTORY = "put all files of the model into one directory and name that as the model"
_SLEEP = "sleep() moves or drops all weights; no allocator has to be told before"
_STRUCTURED = {
    "disable_any_whitespace": False,
    "disable_additional_properties": False,
    "enable_in_reasoning": False,
    "reasoning_parser": "",
    "reasoning_parser_plugin": "",
}


def _only_a_backend(value: Any) -> bool:
    """Grammars of every backend allow the same texts; the other settings of structured output do not."""
    if not isinstance(value, Mapping):
        return False
    return all(key == "backend" or (key in _STRUCTURED and part == _STRUCTURED[key]) for key, part in value.items())


READING: dict[str, VllmArgument] = {
    "runner": refused("auto", "generate", why=_GENERATION),
    "convert": refused("auto", "none", why=_GENERATION),
    "task": refused("auto", "generate", why=_GENERATION),
    "tokenizer_mode": refused_but(("slow",), "auto", "hf", why="tokenizers are Hugging Face's fast ones"),
    "trust_remote_code": hint(False, why=_NO_REMOTE_CODE),
    "tokenizer_revision": refused(why="give the tokenizer's directory in tokenizer="),
    "code_revision": hint(why=_NO_REMOTE_CODE),
    "config_format": refused("auto", "hf", why="config.json is read in Hugging Face's format"),
    "hf_config_path": refused("", why=_ONE_DIRECTORY),
    "model_weights": refused("", why=_ONE_DIRECTORY),
    "model_impl": hint("auto", why="there is one implementation"),
    "model_class_overrides": refused({}, why="a model's config.json says which class it is; see hf_overrides"),
    "hf_token": refused(None, True, why="log in with `hf auth login`, or set HF_TOKEN"),
    "model_loader_extra_config": hint({}, why=_READING),
    "safetensors_load_strategy": hint("lazy", why=_READING),
    "safetensors_prefetch_num_threads": hint(8, why=_READING),
    "safetensors_prefetch_block_size": hint(16 * 2**20, why=_READING),
    "pt_load_map_location": hint("cpu", why="each device reads its own part of the weights"),
    "ignore_patterns": hint([], "original/**/*", why="only the files that are needed are downloaded"),
    "max_parallel_loading_workers": hint(why=_READING),
    "allow_deprecated_quantization": hint(False, why="quantization= names every scheme there is"),
    "quantization_config": refused({}, why="choose a scheme with quantization="),
    "rope_scaling": refused({}, why="say it in hf_overrides"),
    "rope_theta": refused(why="say it in hf_overrides"),
    "enable_sleep_mode": refused(False, True, why=_SLEEP),
    "sleep_mode_backend": hint("cumem", why=_SLEEP),
    "sleep_mode_offload_cudagraph": hint(False, why=_SLEEP),
    "sleep_preserve_parameter_names": refused([], why="sleep() moves or drops all weights"),
    "enable_cumem_allocator": hint(False, why=_SLEEP),
    "enable_nccl_comm_suspend": hint(False, why=_SLEEP),
    "weight_transfer_config": refused({}, why="update_weights() takes arrays, or a directory"),
    "io_processor_plugin": refused("", why="prompts and answers are texts or token ids"),
    "renderer_num_workers": hint(1, why="long prompts are always rendered in threads"),
}

ANSWERS: dict[str, VllmArgument] = {
    "speculative_config": refused({}, why=_LATER),
    "spec_method": refused(why=_LATER),
    "spec_model": refused(why=_LATER),
    "spec_tokens": refused(why=_LATER),
    "structured_outputs_config": VllmArgument(
        (None, {}, {"backend": "auto"}, {"backend": "guidance"}),
        "grammars are llguidance's; say the rest in StructuredOutputsParams",
        _only_a_backend,
    ),
    "guided_decoding_backend": hint("auto", "guidance", why="grammars are llguidance's; every backend allows the same"),
    "enable_reasoning": refused(False, True, why="reasoning is always told apart"),
    "disable_sliding_window": refused(False, why="windows are part of the model"),
    "enable_return_routed_experts": refused(False, why=_LATER),
    "return_sampling_mask": refused(False, why=_LATER),
    "enable_trace_replay": refused(False, why=_LATER),
    "aux_output_config": refused({}, why=_LATER),
    "watermark_config": refused({}, why=_LATER),
    "diffusion_config": refused({}, why=_TEXT_ONLY),
    "engram_config": refused({}, why=_LATER),
    "use_fp64_gumbel": hint(False, why="a seed gives the same tokens with float32 noise"),
    "pooler_config": refused({}, why=_GENERATION),
    "override_pooler_config": refused({}, why=_GENERATION),
}

ADAPTERS: dict[str, VllmArgument] = {
    "enable_lora": refused(False, why=_ADAPTERS),
    "max_loras": hint(1, why=_ADAPTERS),
    "max_lora_rank": hint(16, why=_ADAPTERS),
    "max_cpu_loras": hint(why=_ADAPTERS),
    "lora_dtype": hint("auto", why=_ADAPTERS),
    "lora_target_modules": hint([], why=_ADAPTERS),
    "lora_extra_vocab_size": hint(256, why=_ADAPTERS),
    "long_lora_scaling_factors": hint(why=_ADAPTERS),
    "default_mm_loras": hint({}, why=_ADAPTERS),
    "fully_sharded_loras": hint(False, why=_ADAPTERS),
    "enable_lora_bias": hint(False, why=_ADAPTERS),
    "enable_tower_connector_lora": hint(False, why=_ADAPTERS),
    "specialize_active_lora": hint(False, why=_ADAPTERS),
    "enable_mixed_moe_lora_format": hint(False, why=_ADAPTERS),
    "enable_moe_shared_loras": hint(False, why=_ADAPTERS),
    "max_lora_cls_labels": hint(why=_ADAPTERS),
    "enable_prompt_adapter": refused(False, why=_ADAPTERS),
    "max_prompt_adapters": hint(1, why=_ADAPTERS),
    "max_prompt_adapter_token": hint(0, why=_ADAPTERS),
}

MEDIA: dict[str, VllmArgument] = {
    "language_model_only": hint(False, why=_TEXT_ONLY),
    "allowed_local_media_path": hint("", why=_TEXT_ONLY),
    "allowed_media_domains": hint([], why=_TEXT_ONLY),
    "limit_mm_per_prompt": hint({}, why=_TEXT_ONLY),
    "enable_mm_embeds": hint(False, why=_TEXT_ONLY),
    "interleave_mm_strings": hint(False, why=_TEXT_ONLY),
    "media_io_kwargs": hint({}, why=_TEXT_ONLY),
    "mm_processor_kwargs": hint({}, why=_TEXT_ONLY),
    "mm_processor_cache_gb": hint(0, why=_TEXT_ONLY),
    "mm_processor_cache_type": hint(why=_TEXT_ONLY),
    "mm_processor_device": hint("auto", why=_TEXT_ONLY),
    "mm_hasher_algorithm": hint(why=_TEXT_ONLY),
    "mm_shm_cache_max_object_size_mb": hint(128, why=_TEXT_ONLY),
    "mm_encoder_only": refused(False, why=_TEXT_ONLY),
    "mm_encoder_tp_mode": hint("weights", why=_TEXT_ONLY),
    "mm_encoder_attn_backend": hint(why=_TEXT_ONLY),
    "mm_encoder_attn_dtype": hint(why=_TEXT_ONLY),
    "mm_encoder_fp8_scale_path": hint(why=_TEXT_ONLY),
    "mm_encoder_fp8_scale_save_path": hint(why=_TEXT_ONLY),
    "mm_encoder_fp8_scale_save_margin": hint(why=_TEXT_ONLY),
    "mm_tensor_ipc": hint(why=_TEXT_ONLY),
    "mm_ipc_gpu_memory_gb": hint(why=_TEXT_ONLY),
    "mm_device_do_normalize": hint(False, why=_TEXT_ONLY),
    "enable_multimodal_encoder_data_parallel": hint(False, why=_TEXT_ONLY),
    "disable_mm_preprocessor_cache": hint(False, why=_TEXT_ONLY),
    "disable_chunked_mm_input": hint(False, why=_TEXT_ONLY),
    "skip_mm_profiling": hint(False, why=_TEXT_ONLY),
    "video_pruning_rate": hint(why=_TEXT_ONLY),
    "video_pruning_method": hint(why=_TEXT_ONLY),
    "enable_mm_processor_stats": hint(False, why=_TEXT_ONLY),
}
