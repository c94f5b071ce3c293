"""Flags of the server's HTTP side: where it listens, certificates, what browsers may do, what is logged."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Callable, Sequence

from jaxpaged.cli import json_list

Add = Callable[..., object]  # add_argument of a parser or of a group


def add_address(add: Add) -> None:
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every one (default: %(default)s)")
    add("--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: %(default)s)")
    add("--uds", metavar="PATH", help="listen on a Unix domain socket at this path, instead of host and port")
    add("--api-key", nargs="+", default=[], metavar="KEY", help="keys that clients must send; none: everybody may ask")
    add("--root-path", default="", metavar="PATH", help="the path under which a proxy shows this server")
    add(
        "--middleware",
        action="append",
        default=[],
        metavar="PACKAGE.NAME",
        help="an ASGI middleware class, or a function(request, call_next), to put around the application; may be given "
        "several times",
    )


def add_browsers(add: Add) -> None:
    """What web pages of other origins may do (CORS)."""

    def add_list(flag: str, default: list[str], what: str) -> None:
        add(flag, nargs="+", type=json_list, default=default, metavar=flag.rsplit("-", 1)[-1][:-1].upper(), help=what)

    add_list("--allowed-origins", [], "origins that browsers may ask from (CORS); * for every one")
    add_list("--allowed-methods", ["*"], "methods that browsers may use (default: every one)")
    add_list("--allowed-headers", ["*"], "headers that browsers may send (default: every one)")
    add("--allow-credentials", action=argparse.BooleanOptionalAction, default=False, help="browsers may send cookies")


def flat(lists: Sequence[list[str] | str]) -> tuple[str, ...]:
    """The values of a flag that takes texts and JSON lists of texts; a YAML file gives texts."""
    return tuple(one for part in lists for one in ([part] if isinstance(part, str) else part))


def add_certificates(add: Add) -> None:
    add("--ssl-keyfile", metavar="FILE", help="TLS key")
    add("--ssl-certfile", metavar="FILE", help="TLS certificate")
    add("--ssl-ca-certs", metavar="FILE", help="certificates of the authorities that may sign those of clients")
    add(
        "--ssl-cert-reqs",
        type=int,
        choices=[int(one) for one in ssl.VerifyMode],
        default=int(ssl.CERT_NONE),
        help="clients show a certificate: 0 no, 1 if they have one, 2 they must (default: %(default)s)",
    )
    add("--ssl-ciphers", metavar="LIST", help="ciphers of TLS 1.2 and below, as OpenSSL writes them")
    add(
        "--enable-ssl-refresh",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="read key and certificate again when their files change",
    )


def add_logs(add: Add) -> None:
    add(
        "--log-format",
        default="text",
        choices=("text", "json"),
        help="json: one object a line on stdout, with request ids (default: %(default)s)",
    )
    add(
        "--otlp-traces-endpoint",
        metavar="URL",
        help="send a span of every request to this OTLP/HTTP address; needs the extra `otel`",
    )
    add(
        "--uvicorn-log-level",
        default="info",
        choices=("trace", "debug", "info", "warning", "error", "critical"),
        help="how much the server logs (default: %(default)s)",
    )
    add(
        "--disable-uvicorn-access-log",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="do not log every request",
    )
    add(
        "--disable-access-log-for-endpoints",
        metavar="PATHS",
        help="do not log requests of these paths, with commas between them (/health,/metrics)",
    )
