"""vLLM's arguments about kernels, memory, devices and the schedule."""

from __future__ import annotations

from jaxpaged.arguments.vllm_argument import VllmArgument, hint, refused, refused_but, refused_unless_idle

_LATER = "it is not there yet"
_XLA = "XLA decides it"
_COMPILED = "XLA compiles every program before the engine is ready"
_KERNEL = "the device chooses its kernels"
_STATES = "no model that is served keeps such a state"
_ON_DEVICE = "weights stay on the device"
_OWN_PAGES = "one engine keeps its own pages"
_DTYPE = "the cache has the model's dtype"
_ONE_PROCESS = "one process drives all its devices; give tensor_parallel_size"
_SHARDS = "one process drives all its devices; give data_parallel_size"
_ONE_MACHINE = "one machine serves a model; several are not there yet"
_BALANCER = "put a load balancer in front of several servers"
_EXPERTS = "enable_expert_parallel shares experts out evenly, in their order"
_CHUNK = "max_num_batched_tokens bounds a chunk"
_RESTARTS = "a dead engine is started again, see --engine-restarts"

COMPILING: dict[str, VllmArgument] = {
    "enforce_eager": hint(False, why=_COMPILED),
    "compilation_config": hint({}, why=_COMPILED),
    "optimization_level": hint(why=_COMPILED),
    "cudagraph_capture_sizes": hint(why=_COMPILED),
    "max_cudagraph_capture_size": hint(why=_COMPILED),
    "cuda_graph_sizes": hint(why=_COMPILED),
    "full_cuda_graph": hint(False, why=_COMPILED),
    "max_seq_len_to_capture": hint(why=_COMPILED),
    "max_context_len_to_capture": hint(why=_COMPILED),
    "performance_mode": hint("balanced", why="there is one mode"),
    "ir_op_priority": hint({}, why=_XLA),
    "attention_config": hint({}, why=_KERNEL),
    "attention_backend": hint(why=_KERNEL),
    "kernel_config": hint({}, why=_KERNEL),
    "linear_backend": hint("auto", why=_KERNEL),
    "moe_backend": hint("auto", why=_KERNEL),
    "mamba_backend": hint("triton", why=_KERNEL),
    "mamba_config": hint({}, why=_KERNEL),
    "mamba_ssu_algorithm": hint(why=_KERNEL),
    "gdn_prefill_backend": hint(why=_KERNEL),
    "kda_prefill_backend": hint(why=_KERNEL),
    "kda_decode_backend": hint(why=_KERNEL),
    "sparse_indexer_topk_backend": hint("auto", why=_KERNEL),
    "monokernel": hint(False, why=_KERNEL),
    "enable_flashinfer_autotune": hint(False, why=_KERNEL),
    "disable_custom_all_reduce": hint(False, why=_XLA),
    "disable_cascade_attn": hint(False, why=_XLA),
    "enable_dbo": hint(False, why=_XLA),
    "ubatch_size": hint(0, why=_XLA),
    "dbo_decode_token_threshold": hint(32, why=_XLA),
    "dbo_prefill_token_threshold": hint(512, why=_XLA),
}

MEMORY: dict[str, VllmArgument] = {
    "swap_space": hint(0, why="preempted requests are computed again, never swapped"),
    "cpu_offload_gb": refused(0, why=_ON_DEVICE),
    "cpu_offload_params": refused(set(), [], why=_ON_DEVICE),
    "offload_backend": refused("auto", why=_ON_DEVICE),
    "offload_group_size": refused(0, why=_ON_DEVICE),
    "offload_num_in_group": refused(1, why=_ON_DEVICE),
    "offload_prefetch_step": refused(1, why=_ON_DEVICE),
    "offload_params": refused(set(), [], why=_ON_DEVICE),
    "kv_cache_dtype": refused("auto", why=_DTYPE),
    "kv_cache_dtype_skip_layers": hint([], why=_DTYPE),
    "calculate_kv_scales": refused(False, why=_DTYPE),
    "kv_offloading_size": refused(0, why="pages stay on the device"),
    "kv_offloading_backend": hint("native", why="pages stay on the device"),
    "kv_transfer_config": refused_unless_idle(
        {"kv_connector": (None, "", "null"), "kv_role": (None, "")}, why=f"{_OWN_PAGES}; transfers are not there yet"
    ),
    "kv_events_config": refused_unless_idle(
        {"enable_kv_cache_events": (None, False), "publisher": (None, "null")}, why="events are not there yet"
    ),
    "ec_transfer_config": refused_unless_idle({"ec_connector": (None, "")}, why=_OWN_PAGES),
    "ec_manager_config": hint({}, why=_OWN_PAGES),
    "prefix_caching_hash_algo": hint("sha256", why="the hash is a secure one, always"),
    "prefix_cache_retention_interval": hint(why="the prefix that was used least recently goes first"),
    "prefix_match_unit": hint(why="prefixes are shared page by page"),
    "disable_hybrid_kv_cache_manager": hint(False, why="every kind of layer has its own pages"),
    "kv_sharing_fast_prefill": hint(False, why=_XLA),
    "swa_bounded_replay": hint(False, why="every kind of layer has its own pages"),
    "mamba_cache_dtype": hint("auto", why=_STATES),
    "mamba_ssm_cache_dtype": hint("auto", why=_STATES),
    "mamba_block_size": hint(why=_STATES),
    "mamba_cache_mode": hint("none", why=_STATES),
    "mamba_cache_philox_rounds": hint(0, why=_STATES),
    "enable_mamba_cache_stochastic_rounding": hint(False, why=_STATES),
    "enable_mamba_shared_prefix_checkpoint": hint(False, why=_STATES),
    "replayssm_buffer_len": hint(0, why=_STATES),
    "use_replayssm": hint(False, why=_STATES),
}

DEVICES: dict[str, VllmArgument] = {
    "device": hint("auto", why="JAX_PLATFORMS chooses the device"),
    "device_ids": refused([], why="choose devices by CUDA_VISIBLE_DEVICES or TPU_VISIBLE_CHIPS, or by devices="),
    "pipeline_parallel_size": refused(1, why=_LATER),
    "prefill_context_parallel_size": refused(1, why=_LATER),
    "decode_context_parallel_size": refused(1, why=_LATER),
    "dcp_comm_backend": hint(why=_XLA),
    "dcp_q_replicate": hint(False, why=_XLA),
    "dcp_kv_cache_interleave_size": hint(1, why=_XLA),
    "cp_kv_cache_interleave_size": hint(1, why=_XLA),
    "enable_ep_weight_filter": hint(False, why=_EXPERTS),
    "enable_eplb": hint(False, why=_EXPERTS),
    "eplb_config": hint({}, why=_EXPERTS),
    "expert_placement_strategy": hint("linear", why=_EXPERTS),
    "all2all_backend": hint(why=_XLA),
    "enable_elastic_ep": refused(False, why=_LATER),
    "elastic_ep_max_dp_size": hint(0, why=_EXPERTS),
    "enable_hc_sp": hint(False, why=_XLA),
    "enable_batch_sharded_sampling": hint(False, why=_XLA),
    "distributed_executor_backend": refused_but(("mp", "ray"), "uni", why=_ONE_PROCESS),
    "worker_use_ray": hint(False, why=_ONE_PROCESS),
    "worker_cls": hint("auto", why="there are no workers"),
    "worker_extension_cls": hint("", why="there are no workers"),
    "ray_workers_use_nsight": hint(False, why="there are no workers"),
    "enable_shm_tensor_arena": hint(False, why="there are no workers"),
    "data_parallel_backend": hint("mp", why=_SHARDS),
    "data_parallel_size_local": hint(why=_SHARDS),
    "data_parallel_rpc_port": hint(why=_SHARDS),
    "data_parallel_address": hint(why=_SHARDS),
    "data_parallel_rank": refused(why=_BALANCER),
    "data_parallel_start_rank": refused(0, why=_ONE_MACHINE),
    "data_parallel_hybrid_lb": refused(False, why=_BALANCER),
    "data_parallel_external_lb": refused(False, why=_BALANCER),
    "data_parallel_multi_port_external_lb": refused(False, why=_BALANCER),
    "dp_sync_interval": hint(why=_SHARDS),
    "disable_nccl_for_dp_synchronization": hint(False, why=_SHARDS),
    "nnodes": refused(1, why=_ONE_MACHINE),
    "node_rank": refused(0, why=_ONE_MACHINE),
    "master_addr": hint("127.0.0.1", why=_ONE_MACHINE),
    "master_port": hint(29501, why=_ONE_MACHINE),
    "distributed_timeout_seconds": hint(why=_ONE_MACHINE),
    "cpu_distributed_timeout_seconds": hint(why=_ONE_MACHINE),
    "numa_bind": hint(False, why="start the server under numactl"),
    "numa_bind_nodes": hint([], why="start the server under numactl"),
    "numa_bind_cpus": hint([], why="start the server under numactl"),
    "enable_fault_tolerance": hint(False, why=_RESTARTS),
    "fault_tolerance_config": hint({}, why=_RESTARTS),
    "watchdog_config": hint({}, why="an engine that is stuck is found, see --engine-step-timeout"),
    "additional_config": hint({}, why="no platform reads it"),
}

SCHEDULE: dict[str, VllmArgument] = {
    "enable_chunked_prefill": hint(True, why="prompts are always cut into chunks"),
    "async_scheduling": hint(True, why="steps always overlap"),
    "num_scheduler_steps": hint(1, why="steps always overlap"),
    "multi_step_stream_outputs": hint(True, why="steps always overlap"),
    "disable_async_output_proc": hint(False, why="steps always overlap"),
    "scheduler_delay_factor": hint(0, why="a request never waits for company"),
    "long_prefill_token_threshold": hint(0, why=_CHUNK),
    "long_prefill_token_threshold_adaptive": hint(False, why=_CHUNK),
    "max_num_partial_prefills": hint(1, why=_CHUNK),
    "max_long_partial_prefills": hint(1, why=_CHUNK),
    "prefill_schedule_interval": hint(why=_CHUNK),
    "max_num_scheduled_tokens": hint(why="max_num_batched_tokens bounds a step"),
    "max_num_active_seqs": hint(why="max_num_seqs bounds what runs"),
    "max_num_queued_tokens": refused(why="bound the queue by max_num_queued_reqs"),
    "num_lookahead_slots": hint(0, why="pages are taken when they are needed"),
    "scheduler_reserve_full_isl": hint(True, why="pages are taken when they are needed"),
    "watermark": hint(0, why="pages are taken when they are needed"),
    "use_v2_block_manager": hint(True, why="there is one"),
    "preemption_mode": hint("recompute", why="preempted requests are computed again"),
    "scheduler_cls": refused(why="there is one scheduler"),
}
