"""vLLM's arguments about logs, statistics and traces."""

from __future__ import annotations

from jaxpaged.arguments.vllm_argument import VllmArgument, hint, refused

_STATISTICS = "statistics are always kept; see get_metrics()"
_METRICS = "/metrics always has them"
_REQUESTS = "requests are logged by their ids, never by their text"
_PROFILE = "start_profile() takes a trace of host and devices by jax.profiler"
_LOGS = "configure Python's logger `jaxpaged`, or see the server's --uvicorn-log-level and --log-format"

REPORTS: dict[str, VllmArgument] = {
    "disable_log_stats": hint(False, why=_STATISTICS),
    "aggregate_engine_logging": hint(False, why=_STATISTICS),
    "enable_log_requests": hint(False, why=_REQUESTS),
    "disable_log_requests": hint(False, True, why=_REQUESTS),
    "max_log_len": hint(why=_REQUESTS),
    "enable_request_id_headers": refused(False, True, why="every answer has an X-Request-Id"),
    "enable_prompt_tokens_details": refused(False, True, why="usage always tells cached tokens"),
    "api_server_count": hint(1, why="one process answers HTTP"),
    "profiler_config": hint({}, why=_PROFILE),
    "collect_detailed_traces": hint(why=_PROFILE),
    "enable_layerwise_nvtx_tracing": hint(False, why=_PROFILE),
    "enable_logging_iteration_details": hint(False, why=_PROFILE),
    "show_hidden_metrics_for_version": hint(why=_METRICS),
    "per_request_spec_decode_metrics": hint("none", why="nothing is speculated"),
    "kv_cache_metrics": hint(False, why="kv_stats() tells what sharing saves"),
    "kv_cache_metrics_sample": hint(why="kv_stats() tells what sharing saves"),
    "custom_histogram_buckets": hint({}, why="histograms have vLLM's buckets"),
    "cudagraph_metrics": hint(False, why="there are no CUDA graphs"),
    "enable_mfu_metrics": hint(False, why=_PROFILE),
    "jit_monitor_mode": hint("warn", "error", why="nothing compiles after the engine is ready"),
    "jit_monitor_verbose": hint(False, why="nothing compiles after the engine is ready"),
    "logging_config": hint({}, why=_LOGS),
    "log_config_file": hint(why=_LOGS),
    "log_level": hint("info", "INFO", why=_LOGS),
    "fail_on_environ_validation": hint(False, why="JAXPAGED_ variables are read as flags are"),
    "tokens_only": refused(False, why="see skip_tokenizer_init"),
}

# The server has flags for these; for LLM(...) there is nothing to set.
SERVER_ONLY: dict[str, VllmArgument] = {
    "reasoning_parser": hint(
        "",
        why="a text is given whole, the server tells reasoning apart; its marks limit thoughts",
    ),
    "reasoning_parser_plugin": refused("", why="the parsers there are have names; see --reasoning-parser"),
    "otlp_traces_endpoint": hint(why="the server sends spans, not LLM()"),
    "shutdown_timeout": hint(0, why="LLM() has no requests left when it ends"),
}
