"""The names and defaults of vLLM 0.32.0's public Python surface, and what differs on purpose with its reason.

Read off vllm/entrypoints/llm.py, vllm/sampling_params.py, vllm/outputs.py and vllm/logprobs.py.
"""

from __future__ import annotations

import inspect

from jaxpaged.sampling_params import RequestOutputKind

REQUIRED = inspect.Parameter.empty

LLM_INIT = {
    "model": REQUIRED,
    "runner": "auto",
    "convert": "auto",
    "tokenizer": None,
    "tokenizer_mode": "auto",
    "skip_tokenizer_init": False,
    "trust_remote_code": False,
    "allowed_local_media_path": "",
    "allowed_media_domains": None,
    "tensor_parallel_size": 1,
    "dtype": "auto",
    "quantization": None,
    "revision": None,
    "tokenizer_revision": None,
    "chat_template": None,
    "seed": 0,
    "gpu_memory_utilization": 0.92,
    "cpu_offload_gb": 0,
    "offload_group_size": 0,
    "offload_num_in_group": 1,
    "offload_prefetch_step": 1,
    "offload_params": None,
    "enforce_eager": False,
    "enable_return_routed_experts": False,
    "return_sampling_mask": False,
    "disable_custom_all_reduce": False,
    "hf_token": None,
    "hf_overrides": None,
    "mm_processor_kwargs": None,
    "pooler_config": None,
    "structured_outputs_config": None,
    "profiler_config": None,
    "attention_config": None,
    "kv_cache_memory_bytes": None,
    "compilation_config": None,
    "quantization_config": None,
    "logits_processors": None,
    "spec_method": None,
    "spec_model": None,
    "spec_tokens": None,
}
# EngineArgs fields that LLM(**kwargs) passes on and that we take
ENGINE_ARGS = {
    "load_format": "auto",
    "download_dir": None,
    "served_model_name": None,
    "generation_config": "auto",
    "max_model_len": None,
    "max_logprobs": 20,
    "logprobs_mode": "raw_logprobs",
    "enable_prompt_embeds": False,
    "data_parallel_size": 1,
    "block_size": None,
    "num_gpu_blocks_override": None,
    "enable_prefix_caching": None,
    "max_num_seqs": None,
    "max_num_batched_tokens": None,
    "max_num_queued_reqs": None,
    "scheduling_policy": "fcfs",
    "use_tqdm_on_load": True,
}
LLM_INIT_DIFFERENT = {"model": "the bundled demo model is served without one"}
LLM_INIT_OURS = {"mesh": "a jax.sharding.Mesh", "devices": "the jax devices to use", "others": "**kwargs"}

GENERATE = {
    "prompts": REQUIRED,
    "sampling_params": None,
    "use_tqdm": True,
    "lora_request": None,
    "priority": None,
    "tokenization_kwargs": None,
    "mm_processor_kwargs": None,
}
CHAT = {
    "messages": REQUIRED,
    "sampling_params": None,
    "use_tqdm": True,
    "lora_request": None,
    "priority": None,
    "chat_template": None,
    "chat_template_content_format": "auto",
    "add_generation_prompt": True,
    "continue_final_message": False,
    "tools": None,
    "chat_template_kwargs": None,
    "tokenization_kwargs": None,
    "mm_processor_kwargs": None,
}
BEAM_SEARCH = {
    "prompts": REQUIRED,
    "params": REQUIRED,
    "lora_request": None,
    "use_tqdm": False,
    "concurrency_limit": None,
}
METHODS = """
    generate chat beam_search encode embed classify score get_tokenizer get_default_sampling_params get_metrics
    reset_prefix_cache sleep wake_up enqueue enqueue_chat wait_for_completion collective_rpc apply_model get_world_size
    from_engine_args reset_mm_cache start_profile stop_profile release_kv_cache_memory init_weight_transfer_engine
    start_weight_update update_weights finish_weight_update
""".split()
METHODS_ABSENT: dict[str, str] = {}

SAMPLING_PARAMS = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "watermarking": None,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "seed": None,
    "stop": None,
    "stop_token_ids": None,
    "ignore_eos": False,
    "max_tokens": 16,
    "min_tokens": 0,
    "logprobs": None,
    "prompt_logprobs": None,
    "prompt_logprob_token_ids": None,
    "prompt_logprob_start": None,
    "logprob_token_ids": None,
    "flat_logprobs": False,
    "detokenize": True,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False,
    "output_kind": RequestOutputKind.CUMULATIVE,
    "stream_interval": None,
    "skip_clone": False,
    "output_text_buffer_length": 0,
    "structured_outputs": None,
    "logit_bias": None,
    "allowed_token_ids": None,
    "extra_args": None,
    "bad_words": None,
    "skip_reading_prefix_cache": None,
    "thinking_token_budget": None,
    "repetition_detection": None,
    "routed_experts_prompt_start": 0,
    "trace_decode_token_ids": None,
}
SAMPLING_PARAMS_ABSENT = {
    "skip_clone": "internal: params are never changed in place",
    "output_text_buffer_length": "internal: StopStrings knows how much to hold back",
}

COMPLETION_OUTPUT = {
    "index": REQUIRED,
    "text": REQUIRED,
    "token_ids": REQUIRED,
    "cumulative_logprob": REQUIRED,
    "logprobs": REQUIRED,
    "routed_experts": None,
    "finish_reason": None,
    "stop_reason": None,
    "lora_request": None,
    "sampling_mask": None,
    "spec_decode_metrics": None,
    "weight_versions": None,
}
COMPLETION_OUTPUT_ABSENT = {
    "routed_experts": "enable_return_routed_experts is refused",
    "lora_request": "enable_lora is refused",
    "sampling_mask": "return_sampling_mask is refused",
    "spec_decode_metrics": "speculation is refused",
    "weight_versions": "update_weights runs between batches",
}
LOGPROB = {"logprob": REQUIRED, "rank": None, "decoded_token": None}
REQUEST_OUTPUT = {
    "request_id": REQUIRED,
    "prompt": REQUIRED,
    "prompt_token_ids": REQUIRED,
    "prompt_logprobs": REQUIRED,
    "outputs": REQUIRED,
    "finished": REQUIRED,
    "metrics": None,
    "lora_request": None,
    "encoder_prompt": None,
    "encoder_prompt_token_ids": None,
    "num_cached_tokens": None,
    "num_cache_creation_tokens": None,
    "prompt_token_id_logprobs": None,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
}
REQUEST_OUTPUT_ABSENT = {
    "lora_request": "enable_lora is refused",
    "encoder_prompt": "decoder models only",
    "encoder_prompt_token_ids": "decoder models only",
    "num_cache_creation_tokens": "a page is cached when it is full; nothing is billed by it",
    "prompt_token_id_logprobs": "SamplingParams.prompt_logprob_token_ids is refused",
    "kv_transfer_params": "one engine keeps its own pages",
    "ec_transfer_params": "text models only",
}
LOGPROB_OURS = {"token_bytes": "the token's own bytes, which its text cannot say of a part of a character"}
COMPLETION_OUTPUT_OURS = {"text_ends": "where the text ends with each token, by which servers count reasoning"}
REQUEST_OUTPUT_OURS = {"error": "what went wrong, when a completion's finish_reason is 'error'"}
METRICS = {
    "num_generation_tokens": 0,
    "num_preemptions": 0,
    "arrival_time": 0.0,
    "queued_ts": 0.0,
    "scheduled_ts": 0.0,
    "first_token_ts": 0.0,
    "last_token_ts": 0.0,
    "first_token_latency": 0.0,
    "is_corrupted": False,
    "is_watermarked": False,
    "is_watermark_skipped": False,
}
METRICS_ABSENT = {
    "is_corrupted": "rows that are not finite end with the finish_reason 'error'",
    "is_watermarked": "there are no watermarks",
    "is_watermark_skipped": "there are no watermarks",
}
