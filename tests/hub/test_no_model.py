"""What is not a model directory: the sentence says what it is instead, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import read_config, resolve_model
from jaxpaged.text.tokenizer import load_tokenizer
from jaxpaged.weights.entries import read_entries
from tests.weights import tiny_llama

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5000000000\n"


def assert_refused(directory: Path, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_model(ModelConfig(model=str(directory)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no config.json, for it is empty; download a model into it with `hf download"),
        ({"notes.txt": ""}, "it has no config.json; name the directory of a model, or a hub id"),
        (
            {"params.json": "{}", "consolidated.safetensors": "", "tekken.json": "{}"},
            r"the model's maker \(params.json\)",
        ),
        ({"params.json": "{}", "consolidated.00.pth": ""}, "take the model's files for transformers"),
        ({"model_index.json": "{}"}, "an image pipeline of diffusers"),
        ({"model.onnx": ""}, "a model for onnxruntime"),
        ({"model.safetensors": ""}, "copy the model's config.json beside its weights"),
        ({"pytorch_model.bin": ""}, "copy the model's config.json beside its weights"),
        ({"tiny-Q4_1.gguf": ""}, "tiny-Q4_1.gguf is empty; fetch the file again"),
        ({"inner/config.json": "{}"}, "but .*inner has one; name that directory"),
        ({"snapshots/abc/config.json": "{}", "refs/main": "abc"}, "but .*snapshots/abc has one"),
        (
            {"adapter_config.json": '{"base_model_name_or_path": "org/base"}', "adapter_model.safetensors": ""},
            r"is a LoRA adapter \(adapter_config.json\); adapters are not served yet: merge it into org/base",
        ),
        ({"adapter_config.json": "broken"}, "merge it into the model that it was trained on"),
        ({"adapter_config.json": POINTER}, "merge it into the model that it was trained on"),
        ({"config.json": POINTER}, r"config.json is a Git LFS pointer, not the file itself; run `git lfs pull`"),
    ],
)
def test_what_it_is(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert_refused(tmp_path, message)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_weights_that_are_pointers(tmp_path: Path, name: str) -> None:
    directory = tiny_llama.write(tmp_path, {})
    (directory / name).write_text(POINTER)
    with pytest.raises(ConfigError, match=rf"{name} is a Git LFS pointer"):
        read_entries(directory)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json"])
def test_tokenizers_that_are_pointers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(ConfigError, match=rf"{name} is a Git LFS pointer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hf_quant_config.json", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}),
        ("quantize_config.json", {"bits": 4, "group_size": 128}),
        ("quant_config.json", {"w_bit": 4}),
    ],
)
def test_what_a_quantizer_wrote_beside_the_config_counts_as_part_of_it(
    tmp_path: Path, name: str, content: dict[str, object]
) -> None:
    directory = tiny_llama.write(tmp_path, {})
    assert "quantization_config" not in read_config(directory)
    (directory / name).write_text(json.dumps(content))
    assert read_config(directory)["quantization_config"] == content
    assert read_config(directory, {"quantization_config": None})["quantization_config"] is None
