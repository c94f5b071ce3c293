"""Sampling defaults: the model's own file, another directory's, none; what a user puts over them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.errors import ConfigError
from jaxpaged.frontend.generation_config import load_generation_config


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in {
        "model": {"temperature": 0.5, "top_k": 7, "eos_token_id": [3, 4]},
        "other": {"temperature": 0.25, "eos_token_id": 9},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "generation_config.json").write_text(json.dumps(content))
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("source", "override", "sampling", "eos"),
    [
        ("auto", None, {"temperature": 0.5, "top_k": 7}, (3, 4)),
        ("vllm", None, {}, (3, 4)),
        ("other", None, {"temperature": 0.25}, (9,)),
        ("auto", {"temperature": 0.9, "max_new_tokens": 5}, {"temperature": 0.9, "top_k": 7, "max_tokens": 5}, (3, 4)),
        ("vllm", {"top_p": 0.5}, {"top_p": 0.5}, (3, 4)),
        ("auto", {"eos_token_id": 5}, {"temperature": 0.5, "top_k": 7}, (5,)),
    ],
)
def test_where_defaults_come_from(
    model: Path, source: str, override: dict[str, Any] | None, sampling: dict[str, Any], eos: tuple[int, ...]
) -> None:
    where = str(model.parent / source) if source == "other" else source
    found = load_generation_config(model, source=where, override=override)
    assert (found.sampling, found.eos_token_ids) == (sampling, eos)


def test_an_override_that_has_no_meaning_here_is_said(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_generation_config(model, override={"do_sample": False})
    (record,) = caplog.records
    assert (record.levelno, "do_sample" in record.getMessage()) == (logging.WARNING, True)


@pytest.mark.parametrize(("source", "override"), [("auto", {"temperature": -1}), ("missing", None)])
def test_what_cannot_be_used_is_one_sentence(model: Path, source: str, override: dict[str, Any] | None) -> None:
    with pytest.raises(ConfigError, match="generation_config") as caught:
        load_generation_config(model, source=source, override=override)
    assert "\n" not in str(caught.value)
