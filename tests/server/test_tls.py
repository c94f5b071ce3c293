"""TLS files are tried before a model loads, and read again when they change."""

import asyncio
import os
import shutil
import ssl
import subprocess
from functools import partial
from pathlib import Path

import pytest

from jaxpaged.errors import ConfigError
from server.http.certificates import Certificates, check_tls, refresh_certificates
from server.http.uvicorn import uvicorn_config


def test_none_is_fine() -> None:
    check_tls(None, None)


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    with pytest.raises(ConfigError, match="--ssl-keyfile needs --ssl-certfile"):
        check_tls(str(garbage), None)
    for key, certificate in ((None, str(tmp_path / "missing")), (str(garbage), str(garbage)), (None, str(tmp_path))):
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            check_tls(key, certificate)
        assert "\n" not in str(caught.value)


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """A new self-signed one; its files."""
    key, certfile = str(folder / f"{name}.key"), str(folder / f"{name}.crt")
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split()
    subprocess.run(["openssl", *made, "-keyout", key, "-out", certfile], check=True, capture_output=True)
    return key, certfile


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.anyio
async def test_a_certificate_that_has_changed_is_used_at_once(tmp_path: Path) -> None:
    (key, crt), (new_key, new_crt) = certificate(tmp_path, "tls"), certificate(tmp_path, "new")
    certificates = Certificates(keyfile=key, certfile=crt, refresh=True)
    certificates.check()
    config = uvicorn_config(lambda *_: None, log_level="critical", certificates=certificates)
    config.load()
    assert config.ssl is not None

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hello, "127.0.0.1", 0, ssl=config.ssl) as server:
        port = server.sockets[0].getsockname()[1]
        shown = partial(asyncio.to_thread, ssl.get_server_certificate, ("127.0.0.1", port))
        watching = asyncio.create_task(refresh_certificates(config.ssl, certificates, seconds=0.02))
        await asyncio.sleep(0)
        first = await shown()
        Path(crt).write_text("half a file")  # while it is being replaced
        await asyncio.sleep(0.1)
        assert await shown() == first
        os.replace(new_crt, crt)
        os.replace(new_key, key)
        for _ in range(200):
            if (second := await shown()) != first:
                break
            await asyncio.sleep(0.02)
        watching.cancel()
    assert second != first


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_rules_about_clients_are_checked_too(tmp_path: Path) -> None:
    key, crt = certificate(tmp_path, "tls")
    Certificates(key, crt, ca_certs=crt, cert_reqs=ssl.CERT_REQUIRED, ciphers="ECDHE+AESGCM").check()
    for wrong in (
        Certificates(refresh=True),
        Certificates(ca_certs=crt),
        Certificates(key, crt, ca_certs=key),
        Certificates(key, crt, ciphers="nonsense"),
        Certificates(key, crt, cert_reqs=ssl.CERT_REQUIRED),
    ):
        with pytest.raises(ConfigError) as caught:
            wrong.check()
        assert "\n" not in str(caught.value)
