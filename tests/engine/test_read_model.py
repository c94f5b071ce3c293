"""What start-up makes of a model directory before any weight: its own code never runs, and what is ignored is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.engine.startup.model import read_model
from jaxpaged.errors import ConfigError
from jaxpaged.models.registry import REGISTRY
from tests.weights import tiny_llama


def directory_with(directory: Path, **changes: Any) -> Path:
    tiny_llama.write(directory, {})
    (directory / "config.json").write_text(json.dumps({**tiny_llama.CONFIG, **changes}))
    return directory


def read(directory: Path) -> Any:
    return read_model(ModelConfig(model=str(directory)), REGISTRY)


@pytest.mark.parametrize("auto_map", [{"AutoModelForCausalLM": "modeling_tiny.Tiny"}, None])
def test_own_code_beside_an_architecture_that_is_implemented_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, auto_map: dict[str, str] | None
) -> None:
    directory = directory_with(tmp_path, auto_map=auto_map)
    marker = tmp_path / "ran"
    (directory / "modeling_tiny.py").write_text(f"open({str(marker)!r}, 'w')")
    assert len(read(directory).spec.layers) == tiny_llama.LAYERS
    assert [record.message for record in caplog.records] == [
        f"{directory} brings Python code of its own, which is never run: LlamaForCausalLM is implemented here"
    ]
    assert not marker.exists()


def test_own_code_of_another_architecture(tmp_path: Path) -> None:
    directory = directory_with(tmp_path, architectures=["TinyForCausalLM"], auto_map={"AutoConfig": "tiny.Tiny"})
    with pytest.raises(ConfigError, match=r"^the model's architecture is TinyForCausalLM .*auto_map\) is never run"):
        read(directory)


def test_keys_that_mean_nothing_are_named_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = {f"key_{number}": number for number in range(12)}
    read(directory_with(tmp_path, **left, rope_interleaved=False, use_cache=True))
    (record,) = caplog.records
    assert "config.json sets key_0, key_1, key_10" in record.message
    assert record.message.endswith("and 4 more, which mean nothing to LlamaForCausalLM and are ignored")


def test_a_plain_model_is_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(directory_with(tmp_path))
    assert not caplog.records


def test_a_quantizers_own_file_is_enough(tmp_path: Path) -> None:
    directory = directory_with(tmp_path)
    (directory / "hf_quant_config.json").write_text('{"producer": {"name": "modelopt"}, "quant_algo": "FP8"}')
    with pytest.raises(ConfigError, match=r"is quantized with modelopt \(FP8\), which is not read yet"):
        read(directory)
