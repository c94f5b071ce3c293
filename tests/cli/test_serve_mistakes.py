"""What an operator can get wrong and a server says before its model loads: one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxpaged.errors import ConfigError
from jaxpaged.text.chat_template import read_chat_template
from server.flags import parse_flags
from server.start import serve

LATE = "--engine-class nowhere:Engine"  # building it would be another error


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        serve(parse_flags(["--port", "0", *LATE.split(), *arguments]))
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00", "is no text"),
        (b"{% if %}", "is not Jinja (line 1"),
        (b"{{ a\n{{ b }}", "is not Jinja (line 2"),
        (b"{% endfor %}", "is not Jinja"),
        (b"{{ " + b"(" * 5000 + b" }}", "nested too deeply"),
    ],
)
def test_templates_that_are_none(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_bytes(content)
    assert says in refused("--chat-template", str(path))


def test_templates_with_tags_of_transformers_are_taken() -> None:
    text = "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}"
    assert read_chat_template(text) == text


def test_directories_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refused("--files-dir", str(tmp_path / "file" / "below"))
    assert "--uds" in refused("--uds", str(tmp_path / "missing" / "x.sock"))
    assert "--middleware" in refused("--middleware", "nowhere.Thing")
    assert "certificate" in refused("--ssl-certfile", str(tmp_path / "file"))
    assert "--ssl-certfile" in refused("--enable-ssl-refresh")
    assert "generation_config" in refused("--generation-config", str(tmp_path / "missing"))
    assert "--headless" in refused("--headless")
