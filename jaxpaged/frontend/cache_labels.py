"""The labels of vllm:cache_config_info: the fields of vLLM's CacheConfig, as this engine has them."""

from __future__ import annotations

from jaxpaged.config import CacheConfig
from jaxpaged.engine.messages import EngineInfo

# what vLLM has and this engine has not, at the value that says so
_ABSENT = {
    "cache_dtype": "auto",
    "calculate_kv_scales": "False",
    "cpu_kvcache_space_bytes": "None",
    "cpu_offload_gb": "0",
    "is_attention_free": "False",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "auto",
    "num_cpu_blocks": "None",
    "prefix_caching_hash_algo": "sha256",
    "sliding_window": "None",
    "swap_space": "0",
}


def cache_labels(config: CacheConfig, info: EngineInfo) -> dict[str, str]:
    """What was asked for, and what start-up decided; each as text, as Prometheus' labels are."""
    decided = {
        "block_size": info.page_size,
        "num_gpu_blocks": info.num_pages,
        "enable_prefix_caching": config.enable_prefix_caching,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "kv_cache_memory_bytes": config.kv_cache_memory_bytes,
        "num_gpu_blocks_override": config.num_gpu_blocks_override,
        "user_specified_block_size": config.block_size is not None,
    }
    return {**_ABSENT, **{name: str(value) for name, value in decided.items()}}
