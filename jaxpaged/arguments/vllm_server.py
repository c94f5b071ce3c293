"""vLLM's arguments of its HTTP server that have no flag here."""

from __future__ import annotations

import argparse

from jaxpaged.arguments.vllm_argument import VllmArgument, hint, refused
from jaxpaged.arguments.vllm_flags import add_vllm_flags, take_vllm_flags

_LOGS = "requests are logged by their ids, never by their text"
_HEADS = "a request's head may have 256 KiB and 256 headers"
_ONE_SERVER = "there is one server"
_FINGERPRINT = "answers have no system_fingerprint"
_COHERE = "Cohere's protocol is not served"

VLLM_SERVER: dict[str, VllmArgument] = {
    "lora_modules": refused([], why="adapters are not there yet"),
    "logits_processors": refused([], why="objects cannot cross into the engine's process; LLM() takes them"),
    "use_tqdm_on_load": hint(True, why="progress is shown, except where --log-format is json"),
    "reasoning_parser_plugin": refused("", why="no code is loaded for it; --reasoning-parser names those there are"),
    "tool_parser_plugin": refused("", why="no code is loaded for it; --tool-call-parser names those there are"),
    "tool_server": refused("", why="clients run their tools themselves"),
    "tool_strict_level": hint(why="a tool with strict: true is followed strictly, another one is not"),
    "trust_request_mm_kwargs": hint(False, why="this engine serves text models only"),
    "reasoning_effort_map": refused({}, why="say it in --default-chat-template-kwargs"),
    "response_role": refused("assistant", why="answers are the assistant's"),
    "exclude_tools_when_tool_choice_none": hint(True, why="with tool_choice none the prompt has no tools"),
    "enable_per_request_metrics": hint(False, why="see /metrics and the log of requests"),
    "enable_server_load_tracking": refused(False, True, why="/load always answers"),
    "sse_keep_alive_interval": hint(why="a stream that is quiet for some seconds gets a comment"),
    "enable_log_outputs": hint(False, why=_LOGS),
    "enable_log_deltas": hint(True, why=_LOGS),
    "log_error_stack": hint(False, why="an error of ours is always logged with its traceback"),
    "cohere_is_reasoning_model": hint(True, why=_COHERE),
    "cohere_format": hint("cmd4", why=_COHERE),
    "anthropic_disabled_thinking_effort": refused("auto", why="the chat template decides what no thinking means"),
    "enable_scale_out": refused(False, True, why="/inference/v1/generate is always there"),
    "fingerprint_mode": hint("none", why=_FINGERPRINT),
    "fingerprint_value": hint(why=_FINGERPRINT),
    "grpc": refused(False, why="the server speaks HTTP"),
    "grpc_port": refused(why="the server speaks HTTP"),
    "headless": refused(False, why="one machine serves a model; several are not there yet"),
    "disable_frontend_multiprocessing": hint(False, why="the engine has a process of its own"),
    "data_parallel_supervisor_port": hint(why=_ONE_SERVER),
    "dp_supervisor_probe_interval_s": hint(why=_ONE_SERVER),
    "dp_supervisor_probe_timeout_s": hint(why=_ONE_SERVER),
    "dp_supervisor_probe_failure_threshold": hint(why=_ONE_SERVER),
    "h11_max_incomplete_event_size": hint(why=_HEADS),
    "h11_max_header_count": hint(256, why=_HEADS),
    "enable_offline_docs": hint(False, why="a browser loads the scripts of /docs from the network"),
    "enable_flash_late_interaction": hint(True, why="only generation is there yet"),
}


def add_vllm_server_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each; --help names none of them."""
    add_vllm_flags(parser, VLLM_SERVER)


def take_vllm_server_flags(args: argparse.Namespace) -> None:
    """Log those that change nothing. Raises ConfigError for one that cannot be had."""
    take_vllm_flags(args, VLLM_SERVER)
