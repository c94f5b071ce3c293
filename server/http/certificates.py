"""TLS: key and certificate are tried before the model loads, and read again when their files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpaged import ConfigError

log = logging.getLogger("jaxpaged.server")
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files and rules of TLS; without a certificate the server speaks plain HTTP."""

    keyfile: str | None = None
    certfile: str | None = None
    ca_certs: str | None = None
    cert_reqs: int = ssl.CERT_NONE
    ciphers: str | None = None
    refresh: bool = False

    def check(self) -> None:
        """Refuse what does not work together. Raises ConfigError."""
        check_tls(self.keyfile, self.certfile)
        if self.certfile is None:
            if self.ca_certs or self.cert_reqs or self.ciphers or self.refresh:
                raise ConfigError("flags about TLS need --ssl-certfile; give it, or leave them out.")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            if self.ca_certs is not None:
                context.load_verify_locations(self.ca_certs)
            if self.ciphers is not None:
                context.set_ciphers(self.ciphers)
        except OSError as error:  # an ssl.SSLError is one
            raise ConfigError(
                f"--ssl-ca-certs {self.ca_certs} and --ssl-ciphers {self.ciphers} cannot be used "
                f"({error.strerror or error}); give a PEM file and ciphers as OpenSSL writes them."
            ) from error
        if self.cert_reqs and self.ca_certs is None:
            raise ConfigError(f"--ssl-cert-reqs {self.cert_reqs} needs --ssl-ca-certs to check clients against.")

    def for_uvicorn(self) -> dict[str, Any]:
        """The same as uvicorn.Config's arguments."""
        if self.certfile is None:
            return {}
        return {
            "ssl_keyfile": self.keyfile,
            "ssl_certfile": self.certfile,
            "ssl_ca_certs": self.ca_certs,
            "ssl_cert_reqs": self.cert_reqs,
            **({} if self.ciphers is None else {"ssl_ciphers": self.ciphers}),
        }


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


async def refresh_certificates(
    context: ssl.SSLContext, certificates: Certificates, seconds: float = LOOK_SECONDS
) -> None:
    """For ever: when one of the files has changed, new connections get what they hold now.

    Files that do not work together (yet) leave the old ones in use.
    """
    files = [Path(name) for name in (certificates.certfile, certificates.keyfile, certificates.ca_certs) if name]
    seen = _stamps(files)
    while True:
        await asyncio.sleep(seconds)
        now = _stamps(files)
        if now == seen:
            continue
        try:
            certificates.check()
            context.load_cert_chain(str(certificates.certfile), certificates.keyfile)
            if certificates.ca_certs is not None:
                context.load_verify_locations(certificates.ca_certs)
        except (ConfigError, OSError) as error:
            log.warning("the changed certificate is not used yet: %s", error)
        else:
            log.info("the changed certificate is used from now on")
        seen = now


def _stamps(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Of each file, its inode and when it changed; None while it is not there."""
    return [(found.st_ino, found.st_mtime_ns) if (found := _stat(file)) else None for file in files]


def _stat(file: Path) -> Any:
    try:
        return file.stat()
    except OSError:
        return None
