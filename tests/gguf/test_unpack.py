"""Which GGUF file a name means, and the model directory that is made of it, once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError, WeightError
from jaxpaged.gguf import unpack as unpacking
from jaxpaged.gguf.unpack import pointed_files, unpack
from jaxpaged.hub.model_directory import resolve_model, resolve_tokenizer
from tests.gguf.test_checkpoint import directory_of, write
from tests.weights import tiny_llama


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return write(tmp_path / "models" / "model.gguf", "llama")


def test_a_directory_that_holds_one_gguf_model_means_it(file: Path, tmp_path: Path) -> None:
    (file.parent / "config.json").write_text('{"model_type": "llama"}')  # as many repositories of GGUF files have it
    directory = directory_of(file)
    config = ModelConfig(model=str(file.parent), download_dir=str(file.parent / "cache"), skip_tokenizer_init=True)
    assert resolve_model(config) == directory
    assert pointed_files(directory) == (file,)
    own = tiny_llama.write(tmp_path / "own", tiny_llama.tensors())
    file.rename(own / "model.gguf")
    assert resolve_model(ModelConfig(model=str(own))) == own
    assert pointed_files(own) is None


def test_it_is_written_once_for_as_long_as_the_file_stays(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = unpack(file, cache, tokenizer=False)
    written = (first / "config.json").stat().st_mtime_ns
    assert unpack(file, cache, tokenizer=False) == first
    assert (first / "config.json").stat().st_mtime_ns == written
    os.utime(file, ns=(0, 0))
    second = unpack(file, cache, tokenizer=False)
    assert second != first
    assert {path.name for path in cache.iterdir()} == {first.name, second.name}


def test_nothing_half_written_is_left(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ConfigError, match="holds no vocabulary"):
        unpack(file, cache)
    assert list(cache.iterdir()) == []


def test_two_processes_at_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is faster."""
    cache = tmp_path / "cache"
    settings = unpacking.model_settings
    others: Iterator[Path] = iter([])

    def slowly(metadata: object) -> dict[str, object]:
        monkeypatch.setattr(unpacking, "model_settings", settings)
        nonlocal others
        others = iter([unpack(file, cache, tokenizer=False)])
        return settings(metadata)  # type: ignore[arg-type]

    monkeypatch.setattr(unpacking, "model_settings", slowly)
    assert unpack(file, cache, tokenizer=False) == next(others)
    assert len(list(cache.iterdir())) == 1


def test_a_name_may_be_as_long_as_the_system_allows(file: Path, tmp_path: Path) -> None:
    long = file.rename(file.with_name("m" * 250 + ".gguf"))
    assert unpack(long, tmp_path / "cache", tokenizer=False).is_dir()


def test_a_cache_that_cannot_be_written_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match=r"cache cannot be made \(.*\); name another directory by download_dir="):
        unpack(file, tmp_path / "cache")


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    pointer = tmp_path / "model.gguf"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WeightError, match="is a Git LFS pointer"):
        resolve_model(ModelConfig(model=str(pointer)))


def test_a_tokenizer_may_come_from_a_file(file: Path, tmp_path: Path) -> None:
    """Of another model."""
    with pytest.raises(ConfigError, match=r"holds no vocabulary; name a directory with the model's tokenizer\.json"):
        resolve_tokenizer(ModelConfig(model="x", tokenizer=str(file), download_dir=str(tmp_path)))
