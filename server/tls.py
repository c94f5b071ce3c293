"""TLS settings, tried before the model loads."""

from __future__ import annotations

import ssl

from jaxpaged import ConfigError


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
