"""Finding a model: what is no model is refused in one sentence, and its code never runs."""

from pathlib import Path

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub import model_directory as hub
from jaxpaged.hub import repository
from tests.weights import tiny_llama


def assert_refused(match: str, **config: object) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        hub.resolve_model(ModelConfig(**config))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_local_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tiny_llama.write(tmp_path / "model", tiny_llama.tensors())
    assert hub.resolve_model(ModelConfig(model=str(directory))) == directory
    monkeypatch.chdir(tmp_path)
    assert hub.resolve_model(ModelConfig(model="model")) == Path("model")
    assert hub.read_config(directory, {"vocab_size": 7})["vocab_size"] == 7


def test_what_is_no_model(tmp_path: Path) -> None:
    assert_refused("is not a model directory: it has no config.json", model=str(tmp_path))
    assert_refused("does not exist; name a model directory or a hub id", model=str(tmp_path / "nothing"))
    assert_refused("does not exist", model="./nothing")
    assert_refused("neither a directory nor a hub id", model="two words")
    (tmp_path / "model.bin").write_bytes(b"PK")
    assert_refused("is a file; name a GGUF file, or the directory", model=str(tmp_path / "model.bin"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert_refused("ends in the middle of its header; fetch the file again", model=str(tmp_path / "model.gguf"))
    assert_refused("ends in the middle of its header; fetch the file again", model=str(tmp_path))
    (tmp_path / "model.gguf").unlink()
    (tmp_path / "config.json").write_text("{")
    assert_refused(r"config\.json cannot be read as JSON", model=str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    assert_refused(r"config\.json holds a JSON list", model=str(tmp_path))
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert_refused(r"config\.json cannot be read as JSON", model=str(tmp_path))


def test_hub_ids_are_downloaded_without_code_and_without_weights_for_dummies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    asked: list[dict[str, object]] = []

    def download(model: str, **options: object) -> str:
        asked.append({"model": model, **options})
        return str(directory)

    monkeypatch.setattr(repository, "snapshot_download", download)
    config = ModelConfig(model="org/name", revision="abc", download_dir="/cache")
    assert hub.resolve_model(config) == directory
    assert (asked[0]["model"], asked[0]["revision"], asked[0]["cache_dir"]) == ("org/name", "abc", "/cache")
    hub.resolve_model(ModelConfig(model="org/name", load_format="dummy"))
    assert hub.resolve_tokenizer(ModelConfig(model="org/name", tokenizer="org/other")) == directory
    assert asked[2]["revision"] is None
    hub.resolve_tokenizer(ModelConfig(model="org/name", revision="abc", tokenizer="org/other"))
    assert asked.pop()["revision"] is None  # it is the model's
    patterns = [options["allow_patterns"] for options in asked]
    assert ["*.safetensors" in each for each in patterns] == [True, False, False]  # type: ignore[operator]
    assert not any(pattern.endswith((".py", ".bin")) for each in patterns for pattern in each)  # type: ignore[attr-defined]
    assert hub.resolve_tokenizer(ModelConfig(model="org/name")) is None


def test_a_revision_is_for_the_hub(tmp_path: Path) -> None:
    directory = tiny_llama.write(tmp_path / "model", tiny_llama.tensors())
    assert_refused(
        "revision is 'abc', but .* is no repository of the hub; leave it out", model=str(directory), revision="abc"
    )
    assert_refused("revision is 'abc'", revision="abc")


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model in ("org/name", "org/name:Q4_K_M"):
        assert_refused(
            "not in the download cache, and the hub cannot be reached", model=model, download_dir=str(tmp_path)
        )


def test_torch_files_are_fetched_where_there_are_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tiny_llama.write(tmp_path, {})
    (directory / "model.safetensors").unlink()
    asked: list[list[str]] = []

    def download(model: str, *, allow_patterns: list[str], **options: object) -> str:
        asked.append(allow_patterns)
        if "pytorch_model*.bin" in allow_patterns:
            (directory / "pytorch_model.bin").touch()
        return str(directory)

    monkeypatch.setattr(repository, "snapshot_download", download)
    hub.resolve_model(ModelConfig(model="org/name"))
    assert ["pytorch_model*.bin" in patterns for patterns in asked] == [False, True]
    hub.resolve_model(ModelConfig(model="org/name", load_format="dummy"))
    assert len(asked) == 3
