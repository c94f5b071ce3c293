"""serve: answer OpenAI's HTTP protocol with one model."""

from __future__ import annotations

import argparse
import os
import sys

from jaxpaged.cli.flags import add_engine_flags, engine_config, integer, positive_seconds

ENGINE = "jaxpaged.engine.engine:Engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file of flags (`port: 8000`); the environment and the "
        "flags given win over it")  # fmt: skip
    add_engine_flags(parser)
    group = parser.add_argument_group("server")
    add = group.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every one (default: %(default)s)")
    add("--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: %(default)s)")
    add("--api-key", nargs="+", default=[], metavar="KEY", help="keys that clients must send; none: everybody may ask")
    add("--chat-template", metavar="FILE", help="Jinja template (a file, or the text) instead of the tokenizer's own")
    add("--tool-call-parser", default="auto", metavar="NAME", help="how the model writes tool calls: hermes, "
        "qwen3_coder, llama3_json, pythonic, mistral, deepseek_v3, kimi_k2, glm45, openai, granite; auto asks its chat "
        "template, none turns them off (default: %(default)s)")  # fmt: skip
    add("--reasoning-parser", default="auto", metavar="NAME", help="how the model marks reasoning: deepseek_r1, "
        "deepseek_v3, qwen3, glm45, kimi_k2, granite, mistral, openai_gptoss; auto asks its chat template, none leaves "
        "it in the content (default: %(default)s)")  # fmt: skip
    add("--enable-auto-tool-choice", action="store_true", help=argparse.SUPPRESS)  # vLLM's; always on here
    add("--root-path", default="", metavar="PATH", help="the path under which a proxy shows this server")
    add("--allowed-origins", nargs="+", default=[], metavar="ORIGIN", help="origins that browsers may ask from (CORS)")
    add("--ssl-keyfile", metavar="FILE", help="TLS key")
    add("--ssl-certfile", metavar="FILE", help="TLS certificate")
    add("--shutdown-timeout", type=float, default=0.0, metavar="SECONDS", help="let requests finish for so long at the "
        "end; 0 ends them at once (default: %(default)s)")  # fmt: skip
    add("--engine-step-timeout", type=float, default=60.0, metavar="SECONDS", help="/health answers 503 when no step "
        "has ended for so long while requests wait; after twice as long the engine is killed (default: %(default)s)"
    )  # fmt: skip
    add("--engine-restarts", type=integer, default=5, metavar="COUNT", help="how often an engine that has died is "
        "started again within ten minutes; 0 never (default: %(default)s)")  # fmt: skip
    add("--request-timeout", type=positive_seconds, metavar="SECONDS", help="end a request with 504 after so long, its "
        "wait in the queue included; clients may ask for less by X-Request-Timeout (default: no limit)")  # fmt: skip
    add("--max-body-bytes", type=integer, default=32 * 2**20, metavar="BYTES", help="largest request body "
        "(default: %(default)s)")  # fmt: skip
    add("--max-stored-responses", type=integer, default=1024, metavar="COUNT", help="answers of /v1/responses kept in "
        "memory for previous_response_id, 0 for none (default: %(default)s)")  # fmt: skip
    add("--max-stored-response-bytes", type=integer, default=64 * 2**20, metavar="BYTES", help="memory for these "
        "answers (default: %(default)s)")  # fmt: skip
    add("--files-dir", metavar="DIR", help="where uploaded files and batches are kept (default: a temporary directory "
        "that ends with the server)")  # fmt: skip
    add("--max-file-bytes", type=integer, default=200 * 2**20, metavar="BYTES", help="largest file of /v1/files "
        "(default: %(default)s)")  # fmt: skip
    add("--max-files-bytes", type=integer, default=10 * 2**30, metavar="BYTES", help="disk space for all files "
        "together (default: %(default)s)")  # fmt: skip
    add("--batch-concurrency", type=integer, default=64, metavar="LINES", help="requests of /v1/batches that are on "
        "their way at once (default: %(default)s)")  # fmt: skip
    add("--enable-force-include-usage", action="store_true", help="end every stream with its usage")
    add("--disable-fastapi-docs", action="store_true", help="no /docs and no /openapi.json")
    add("--disable-page", action="store_true", help="no chat page at /")
    add("--disable-uvicorn-access-log", action="store_true", help="do not log every request")
    add("--engine-class", default=ENGINE, help=argparse.SUPPRESS)  # a stand-in, for tests of the server alone
    add("--log-format", default="text", choices=("text", "json"), help="json: one object a line on stdout, with "
        "request ids (default: %(default)s)")  # fmt: skip
    add("--otlp-traces-endpoint", metavar="URL", help="send a span of every request to this OTLP/HTTP address; needs "
        "the extra `otel`")  # fmt: skip
    add("--uvicorn-log-level", default="info", choices=("debug", "info", "warning", "error", "critical"),
        help="how much the server logs (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    """Become the server, a package that this one may not import: it reads the same arguments again."""
    engine_config(args)  # a mistake shows here, before anything is started
    os.execv(sys.executable, [sys.executable, "-m", "server", *arguments])
