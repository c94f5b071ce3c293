"""Where the server listens, tried before the model loads, so that a mistake is known at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def unix_socket(path: str) -> Iterator[socket.socket]:
    """The same at a path, which is gone at the end. One that a dead server has left is replaced. Raises ConfigError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            _remove_dead_socket(path)
            bound.bind(path)
        except OSError as error:
            raise ConfigError(
                f"--uds {path} cannot be used ({error.strerror or error}); name a path that can be made."
            ) from error
        try:
            yield bound
        finally:
            Path(path).unlink(missing_ok=True)


def _remove_dead_socket(path: str) -> None:
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)


def url_of(bound: socket.socket, host: str, *, tls: bool) -> str:
    """Where a client on this machine finds the server."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{reachable}:{bound.getsockname()[1]}"
