"""`python -m server`: what `jaxpaged serve` becomes. The same flags; see `jaxpaged serve --help`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import partial

from jaxpaged import AsyncLLM, __version__
from jaxpaged.cli import serve
from jaxpaged.cli.flags import changed_settings, engine_config
from jaxpaged.cli.main import parse
from jaxpaged.cli.outcome import run_command
from jaxpaged.engine.garbage import freeze_live_objects
from jaxpaged.engine.report import render
from jaxpaged.engine_process.supervisor import RestartPolicy
from jaxpaged.text.chat_template import read_chat_template
from server.answers.parsers import check_parser_names
from server.app import build_app
from server.http.listen import check_tls, listening_socket, url_of
from server.http.logs import configure_logs, log_record, say
from server.http.record import RecordSink
from server.http.tracing import Tracing
from server.http.uvicorn import HttpServer, uvicorn_config
from server.report import say_ready, server_choices
from server.serving import ServerOptions


def main() -> int:
    args = parse(serve, "jaxpaged serve", sys.argv[1:])
    return run_command(lambda: run(args), debug=args.debug)


def run(args: argparse.Namespace) -> int:
    """Bind the port, start the engine, serve until a signal says stop."""
    configure_logs(args.log_format, args.uvicorn_log_level)
    config = engine_config(args)
    template = None if args.chat_template is None else read_chat_template(args.chat_template)
    check_tls(args.ssl_keyfile, args.ssl_certfile)
    check_parser_names(args.tool_call_parser, args.reasoning_parser)
    with listening_socket(args.host, args.port) as socket, ExitStack() as ending:
        sinks = record_sinks(args, ending)
        options = server_options(args, sinks)
        settings = changed_settings(config)
        shown = ", ".join(f"{name}={value}" for name, value in settings.items())
        say(args.log_format, f"jaxpaged {__version__} starts: {shown or 'every setting at its default'}", **settings)
        llm = AsyncLLM(
            config,
            chat_template=template,
            engine=args.engine_class,
            restarts=RestartPolicy(most=args.engine_restarts),
            progress=args.log_format == "text",
            debug=args.debug,
        )
        ending.callback(llm.shutdown)
        llm.step_timeout = args.engine_step_timeout
        say(args.log_format, f"{llm.info.report}\n{render(server_choices(llm, options, template))}")
        url = url_of(socket, args.host, tls=args.ssl_certfile is not None)
        uvicorn = uvicorn_config(
            build_app(llm, options),
            log_level=args.uvicorn_log_level,
            keyfile=args.ssl_keyfile,
            certfile=args.ssl_certfile,
        )
        on_start = partial(say_ready, options, url, llm.model_name)
        http = HttpServer(uvicorn, llm, shutdown_timeout=options.shutdown_timeout, on_start=on_start)
        freeze_live_objects()
        http.run(sockets=[socket])
    return 0


def record_sinks(args: argparse.Namespace, ending: ExitStack) -> tuple[RecordSink, ...]:
    """Who hears of every request. Raises ConfigError."""
    sinks: list[RecordSink] = [] if args.disable_uvicorn_access_log else [log_record]
    if args.otlp_traces_endpoint is not None:
        tracing = Tracing(args.otlp_traces_endpoint)
        ending.callback(tracing.shutdown)
        sinks.append(tracing)
    return tuple(sinks)


def server_options(args: argparse.Namespace, sinks: tuple[RecordSink, ...] = ()) -> ServerOptions:
    """The server's part of the flags."""
    return ServerOptions(
        api_keys=tuple(args.api_key),
        max_body_bytes=args.max_body_bytes,
        force_include_usage=args.enable_force_include_usage,
        docs=not args.disable_fastapi_docs,
        page=not args.disable_page,
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
        request_timeout=args.request_timeout,
        log_format=args.log_format,
        record_sinks=sinks,
    )


if __name__ == "__main__":
    sys.exit(main())
