"""Where the server listens: port and certificate, tried before the model loads, so that a mistake is known at once."""

from __future__ import annotations

import socket
import ssl

from jaxpaged import ConfigError


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: nobody can connect before the server is ready. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"Port {port} of {host} cannot be used ({error.strerror}); choose another with --port."
        ) from error
    except OverflowError as error:
        bound.close()
        raise ConfigError(f"There is no port {port}; choose one from 0 to 65535.") from error
    return bound


def url_of(bound: socket.socket, host: str, *, tls: bool) -> str:
    """Where a client on this machine finds the server."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{reachable}:{bound.getsockname()[1]}"


def check_tls(keyfile: str | None, certfile: str | None) -> None:
    """Refuse a key and a certificate that do not work together. Raises ConfigError."""
    if keyfile is None and certfile is None:
        return
    if certfile is None:
        raise ConfigError("--ssl-keyfile needs --ssl-certfile; give both or neither.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except OSError as error:  # an ssl.SSLError is one
        raise ConfigError(
            f"The certificate {certfile} and the key {keyfile or certfile} cannot be used ({error.strerror or error}); "
            "give two PEM files that belong together."
        ) from error
