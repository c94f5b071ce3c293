"""`python -m server`: what `jaxpaged serve` becomes. The same flags; see `jaxpaged serve --help`."""

from __future__ import annotations

import argparse
import sys

from jaxpaged import AsyncLLM, __version__
from jaxpaged.cli import serve
from jaxpaged.cli.flags import changed_settings, engine_config
from jaxpaged.cli.main import parse
from jaxpaged.cli.outcome import run_command
from jaxpaged.text.chat_template import read_chat_template
from server.answer_parsers import check_parser_names
from server.app import build_app
from server.serving import ServerOptions
from server.socket import listening_socket, url_of
from server.tls import check_tls
from server.uvicorn_server import HttpServer, uvicorn_config


def main() -> int:
    args = parse(serve, "jaxpaged serve", sys.argv[1:])
    return run_command(lambda: run(args), debug=args.debug)


def run(args: argparse.Namespace) -> int:
    """Bind the port, start the engine, serve until a signal says stop."""
    config = engine_config(args)
    template = None if args.chat_template is None else read_chat_template(args.chat_template)
    check_tls(args.ssl_keyfile, args.ssl_certfile)
    check_parser_names(args.tool_call_parser, args.reasoning_parser)
    with listening_socket(args.host, args.port) as socket:
        settings = ", ".join(f"{name}={value}" for name, value in changed_settings(config).items())
        print(f"jaxpaged {__version__} starts: {settings or 'every setting at its default'}", flush=True)
        llm = AsyncLLM(config, chat_template=template, engine=args.engine_class, debug=args.debug)
        try:
            llm.step_timeout = args.engine_step_timeout
            print(llm.info.report, flush=True)
            options = server_options(args)
            app = build_app(llm, options)
            url = url_of(socket, args.host, tls=args.ssl_certfile is not None)
            HttpServer(uvicorn_config(app, args), llm, options, url).run(sockets=[socket])
        finally:
            llm.shutdown()
    return 0


def server_options(args: argparse.Namespace) -> ServerOptions:
    """The server's part of the flags."""
    return ServerOptions(
        api_keys=tuple(args.api_key),
        max_body_bytes=args.max_body_bytes,
        force_include_usage=args.enable_force_include_usage,
        docs=not args.disable_fastapi_docs,
        root_path=args.root_path,
        allowed_origins=tuple(args.allowed_origins),
        shutdown_timeout=args.shutdown_timeout,
        tool_call_parser=args.tool_call_parser,
        reasoning_parser=args.reasoning_parser,
        max_stored_responses=args.max_stored_responses,
        max_stored_response_bytes=args.max_stored_response_bytes,
        files_dir=args.files_dir,
        max_file_bytes=args.max_file_bytes,
        max_files_bytes=args.max_files_bytes,
        batch_concurrency=max(1, args.batch_concurrency),
    )


if __name__ == "__main__":
    sys.exit(main())
