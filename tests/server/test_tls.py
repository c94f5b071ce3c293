"""TLS files are tried before a model loads."""

from pathlib import Path

import pytest

from jaxpaged.errors import ConfigError
from server.http.listen import check_tls


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
