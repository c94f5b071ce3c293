"""serve: answer OpenAI's HTTP protocol with one model."""

from __future__ import annotations

import argparse
import os
import sys

from jaxpaged.cli.flags import add_engine_flags, engine_config, integer

ENGINE = "jaxpaged.engine:Engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
        "has ended for so long while requests wait (default: %(default)s)")  # fmt: skip
    add("--max-body-bytes", type=integer, default=32 * 2**20, metavar="BYTES", help="largest request body "
        "(default: %(default)s)")  # fmt: skip
    add("--enable-force-include-usage", action="store_true", help="end every stream with its usage")
    add("--disable-fastapi-docs", action="store_true", help="no /docs and no /openapi.json")
    add("--disable-uvicorn-access-log", action="store_true", help="do not log every request")
    add("--engine-class", default=ENGINE, help=argparse.SUPPRESS)  # a stand-in, for tests of the server alone
    add("--uvicorn-log-level", default="info", choices=("debug", "info", "warning", "error", "critical"),
        help="how much the server logs (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    """Become the server, a package that this one may not import: it reads the same arguments again."""
    engine_config(args)  # a mistake shows here, before anything is started
    os.execv(sys.executable, [sys.executable, "-m", "server", *arguments])
