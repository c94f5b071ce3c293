"""From flags to a server that answers, and to its end."""

from __future__ import annotations

import argparse
import gc
from contextlib import ExitStack
from functools import partial

from jaxpaged import AsyncLLM, EngineConfig, RestartPolicy, __version__, read_chat_template
from jaxpaged.cli import changed_settings, engine_config, take_vllm_server_flags
from server.answers.parsers import check_parser_names
from server.app import build_app
from server.files.store import FileStore
from server.flags import ServerOptions, server_options
from server.http.certificates import Certificates
from server.http.listen import listening_socket, unix_socket, url_of
from server.http.logs import configure_logs, logging_all_but, say
from server.http.middleware import load_middleware
from server.http.record import RecordSink
from server.http.tracing import Tracing
from server.http.uvicorn import HttpServer, uvicorn_config
from server.report import say_ready, server_report


def serve(args: argparse.Namespace) -> int:
    """Bind the port, start the engine, serve until a signal says stop. Raises ConfigError."""
    configure_logs(args.log_format, args.uvicorn_log_level)
    config = engine_config(args)
    take_vllm_server_flags(args)
    template = None if args.chat_template is None else read_chat_template(args.chat_template)
    certificates = certificates_of(args)
    certificates.check()
    check_parser_names(args.tool_call_parser, args.reasoning_parser)
    middleware = tuple(map(load_middleware, args.middleware))
    FileStore(args.files_dir, args.max_files_bytes)  # a directory that cannot be used is known before the model loads
    with ExitStack() as ending:
        bound = ending.enter_context(unix_socket(args.uds) if args.uds else listening_socket(args.host, args.port))
        options = server_options(args, record_sinks(args, ending), middleware)
        llm = _start_engine(args, config, template)
        ending.callback(llm.shutdown)
        say(options.log_format, f"{llm.info.report}\n{server_report(llm, options, template)}")
        http = _http_server(args, llm, options, certificates, url_of(bound, args.host, tls=bool(certificates.certfile)))
        gc.collect()
        gc.freeze()  # a full collection of what lives now would take a tenth of a second from requests
        http.run(sockets=[bound])
    return 0


def _start_engine(args: argparse.Namespace, config: EngineConfig, template: str | None) -> AsyncLLM:
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
    llm.step_timeout = args.engine_step_timeout
    return llm


def _http_server(
    args: argparse.Namespace, llm: AsyncLLM, options: ServerOptions, certificates: Certificates, url: str
) -> HttpServer:
    config = uvicorn_config(build_app(llm, options), log_level=args.uvicorn_log_level, certificates=certificates)
    on_start = partial(say_ready, options, url, llm.model_name)
    timeout = options.shutdown_timeout
    return HttpServer(config, llm, shutdown_timeout=timeout, on_start=on_start, certificates=certificates)


def certificates_of(args: argparse.Namespace) -> Certificates:
    return Certificates(
        keyfile=args.ssl_keyfile,
        certfile=args.ssl_certfile,
        ca_certs=args.ssl_ca_certs,
        cert_reqs=args.ssl_cert_reqs,
        ciphers=args.ssl_ciphers,
        refresh=args.enable_ssl_refresh,
    )


def record_sinks(args: argparse.Namespace, ending: ExitStack) -> tuple[RecordSink, ...]:
    """The sinks that get a record of every request. Raises ConfigError."""
    quiet = frozenset(path.strip() for path in (args.disable_access_log_for_endpoints or "").split(","))
    sinks: list[RecordSink] = [] if args.disable_uvicorn_access_log else [logging_all_but(quiet)]
    if args.otlp_traces_endpoint is not None:
        tracing = Tracing(args.otlp_traces_endpoint)
        ending.callback(tracing.shutdown)
        sinks.append(tracing)
    return tuple(sinks)
