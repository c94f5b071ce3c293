"""The server's flags: the engine's of jaxpaged.cli, and those that become ServerOptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jaxpaged.cli import (
    add_engine_class,
    add_engine_flags,
    add_vllm_server_flags,
    json_object,
    not_negative,
    parse,
    positive_seconds,
    seconds_or_none,
)
from server.answers.reasoning.families import VLLM_NAMES
from server.answers.tools.families import FAMILIES
from server.http.flags import add_address, add_browsers, add_certificates, add_logs, flat

if TYPE_CHECKING:  # --help does not wait for them
    from server.http.logs import LogFormat
    from server.http.middleware import Middleware
    from server.http.record import RecordSink


MAX_STOP_STRINGS = 4  # OpenAI's bound


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server's own settings; the engine's are in EngineConfig. Times are in seconds."""

    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = 32 * 2**20
    max_stop_strings: int = MAX_STOP_STRINGS
    force_include_usage: bool = False
    docs: bool = True
    page: bool = True
    dev_routes: bool = False
    tokenizer_info: bool = False
    trust_request_chat_template: bool = False
    root_path: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ("*",)
    allowed_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    middleware: tuple[Middleware, ...] = ()
    default_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    content_format: Literal["auto", "string", "openai"] = "auto"
    tokens_as_ids: bool = False
    shutdown_timeout: float = 0.0
    tool_call_parser: str = "auto"
    reasoning_parser: str = "auto"
    max_stored_responses: int = 1024
    max_stored_response_bytes: int = 64 * 2**20
    files_dir: str | None = None
    max_file_bytes: int = 200 * 2**20
    max_files_bytes: int = 10 * 2**30
    batch_concurrency: int = 64
    request_timeout: float | None = None
    log_format: LogFormat = "text"
    record_sinks: tuple[RecordSink, ...] = ()


DEFAULTS = ServerOptions()
Add = Callable[..., object]  # add_argument of a parser or of a group


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """As `jaxpaged serve` takes them. Mistakes end the process with one sentence."""
    return parse("jaxpaged serve", "serve: answer OpenAI's HTTP protocol with one model.", add_arguments, arguments)


def server_options(
    args: argparse.Namespace, sinks: tuple[RecordSink, ...] = (), middleware: tuple[Middleware, ...] = ()
) -> ServerOptions:
    """The server's part of the flags."""
    return ServerOptions(
        api_keys=tuple(args.api_key),
        max_body_bytes=args.max_body_bytes,
        max_stop_strings=max(0, args.max_stop_strings),
        force_include_usage=args.enable_force_include_usage,
        docs=not args.disable_fastapi_docs,
        page=not args.disable_page,
        dev_routes=args.enable_dev_routes,
        tokenizer_info=args.enable_tokenizer_info_endpoint,
        trust_request_chat_template=args.trust_request_chat_template,
        root_path=args.root_path,
        allowed_origins=flat(args.allowed_origins),
        allowed_methods=flat(args.allowed_methods),
        allowed_headers=flat(args.allowed_headers),
        allow_credentials=args.allow_credentials,
        middleware=middleware,
        default_template_kwargs=args.default_chat_template_kwargs or {},
        content_format=args.chat_template_content_format,
        tokens_as_ids=args.return_tokens_as_token_ids,
        shutdown_timeout=args.shutdown_timeout,
        tool_call_parser=args.tool_call_parser,
        reasoning_parser=args.reasoning_parser,
        max_stored_responses=args.max_stored_responses,
        max_stored_response_bytes=args.max_stored_response_bytes,
        files_dir=args.files_dir,
        max_file_bytes=args.max_file_bytes,
        max_files_bytes=args.max_files_bytes,
        batch_concurrency=max(1, args.batch_concurrency),
        request_timeout=args.request_timeout,
        log_format=args.log_format,
        record_sinks=sinks,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every flag of the server, the engine's included."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of flags (`port: 8000`); the environment and the flags given win over it",
    )
    add_engine_flags(parser)
    group = parser.add_argument_group("server")
    add_address(group.add_argument)
    add_chat(group.add_argument)
    add_browsers(group.add_argument)
    add_certificates(group.add_argument)
    _add_times(group.add_argument)
    _add_sizes(group.add_argument)
    _add_switches(group.add_argument)
    add_engine_class(group)
    add_logs(group.add_argument)
    add_vllm_server_flags(parser)


def add_chat(add: Add) -> None:
    """How chats become prompts and answers are read; run-batch has them too."""
    add("--chat-template", metavar="FILE", help="Jinja template (a file, or the text) instead of the tokenizer's own")
    add(
        "--tool-call-parser",
        default=DEFAULTS.tool_call_parser,
        metavar="NAME",
        help=f"how the model writes tool calls: {', '.join(FAMILIES)}; auto asks its chat template, none turns them "
        "off (default: %(default)s)",
    )
    add(
        "--reasoning-parser",
        default=DEFAULTS.reasoning_parser,
        metavar="NAME",
        help=f"how the model marks reasoning: {', '.join(VLLM_NAMES)}; auto asks its chat template, none leaves it in "
        "the content (default: %(default)s)",
    )
    add(
        "--default-chat-template-kwargs",
        type=json_object,
        metavar="JSON",
        help='variables of the chat template, where a request says nothing ({"enable_thinking": false})',
    )
    add(
        "--chat-template-content-format",
        default=DEFAULTS.content_format,
        choices=("auto", "string", "openai"),
        help="how the chat template gets contents: as texts (string), as lists of parts (openai), or as it asks "
        "(default: %(default)s)",
    )
    add(
        "--return-tokens-as-token-ids",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write tokens of log probabilities as token_id:ID",
    )
    add("--enable-auto-tool-choice", action=argparse.BooleanOptionalAction, help=argparse.SUPPRESS)  # always on here


def _add_times(add: Add) -> None:
    add(
        "--shutdown-timeout",
        type=seconds_or_none,
        default=DEFAULTS.shutdown_timeout,
        metavar="SECONDS",
        help="let requests finish for so long at the end; 0 ends them at once (default: %(default)s)",
    )
    add(
        "--engine-step-timeout",
        type=positive_seconds,
        default=60.0,
        metavar="SECONDS",
        help="/health answers 503 when no step has ended for so long while requests wait; after twice as long the "
        "engine is killed (default: %(default)s)",
    )
    add(
        "--engine-restarts",
        type=not_negative,
        default=5,
        metavar="COUNT",
        help="how often an engine that has died is started again within ten minutes; 0 never (default: %(default)s)",
    )
    add(
        "--request-timeout",
        type=positive_seconds,
        metavar="SECONDS",
        help="end a request with 504 after so long, its wait in the queue included; clients may ask for less by "
        "X-Request-Timeout (default: no limit)",
    )


def _add_sizes(add: Add) -> None:
    def add_size(flag: str, metavar: str, what: str) -> None:
        default = getattr(DEFAULTS, flag.replace("-", "_"))
        add(f"--{flag}", type=not_negative, default=default, metavar=metavar, help=f"{what} (default: %(default)s)")

    add_size("max-body-bytes", "BYTES", "largest request body")
    add_size("max-stop-strings", "COUNT", "most stop strings of a request")
    add_size(
        "max-stored-responses",
        "COUNT",
        "answers of /v1/responses kept in memory for previous_response_id, 0 for none",
    )
    add_size("max-stored-response-bytes", "BYTES", "memory for these answers")
    add(
        "--files-dir",
        metavar="DIR",
        help="where uploaded files and batches are kept (default: a temporary directory that ends with the server)",
    )
    add_size("max-file-bytes", "BYTES", "largest file of /v1/files")
    add_size("max-files-bytes", "BYTES", "disk space for all files together")
    add_size("batch-concurrency", "LINES", "requests of /v1/batches that are on their way at once")


def _add_switches(add: Add) -> None:
    def add_switch(flag: str, what: str) -> None:
        add(flag, action=argparse.BooleanOptionalAction, default=False, help=what)

    add_switch("--enable-force-include-usage", "end every stream with its usage")
    add_switch("--disable-fastapi-docs", "no /docs and no /openapi.json")
    add_switch("--enable-tokenizer-info-endpoint", "serve /tokenizer_info, the chat template included")
    add_switch("--trust-request-chat-template", "let requests bring a chat_template, which is a program, of their own")
    add_switch("--disable-page", "no chat page at /")
    add_switch(
        "--enable-dev-routes",
        "serve /sleep, /wake_up, /is_sleeping, /pause, /resume, /is_paused, /abort_requests, /update_weights, "
        "/reset_prefix_cache, /start_profile and /stop_profile, by which any client can stop the model",
    )
