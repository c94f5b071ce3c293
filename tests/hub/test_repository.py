"""GGUF repositories of the hub: one model of many is fetched, and no other."""

from pathlib import Path

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.gguf.unpack import pointed_files
from jaxpaged.hub import repository
from jaxpaged.hub.model_directory import resolve_model
from tests.gguf.test_checkpoint import write
from tests.hub.fake_hub import FakeHub

REPOSITORY = "org/tiny-GGUF"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub(tmp_path / "hub", tmp_path / "cache")
    monkeypatch.setattr(repository, "snapshot_download", hub.snapshot_download)
    write(hub.put(REPOSITORY, "tiny-Q8_0.gguf"), "llama")
    hub.put(REPOSITORY, "tiny-Q4_K_M.gguf", b"another one")
    hub.put(REPOSITORY, "README.md")
    return hub


def resolve(hub: FakeHub, model: str, **settings: object) -> tuple[Path, ...]:
    """The GGUF files that a name leads to."""
    config = ModelConfig(model=model, download_dir=str(hub.cache), skip_tokenizer_init=True, **settings)  # type: ignore[arg-type]
    files = pointed_files(resolve_model(config))
    assert files is not None
    return files


@pytest.mark.parametrize("name", [REPOSITORY, f"hf.co/{REPOSITORY}", f"https://huggingface.co/{REPOSITORY}"])
@pytest.mark.parametrize("tag", ["Q8_0", "q8_0", "tiny-Q8_0.gguf"])
def test_only_the_file_of_that_quantization_is_fetched(hub: FakeHub, name: str, tag: str) -> None:
    (file,) = resolve(hub, f"{name}:{tag}")
    assert file.name == "tiny-Q8_0.gguf"
    assert hub.fetched == ["tiny-Q8_0.gguf"]


def test_without_a_tag_there_must_be_one(hub: FakeHub) -> None:
    with pytest.raises(ConfigError, match=f"{REPOSITORY} holds 2 GGUF models; name one as {REPOSITORY}:TAG, TAG being"):
        resolve(hub, REPOSITORY)
    (hub.root / REPOSITORY / "tiny-Q4_K_M.gguf").unlink()
    hub.put(REPOSITORY, "config.json", b"{}")  # as some repositories of GGUF files have it
    assert [file.name for file in resolve(hub, REPOSITORY)] == ["tiny-Q8_0.gguf"]


def test_no_such_quantization(hub: FakeHub) -> None:
    with pytest.raises(ConfigError, match=r"no GGUF file of Q2_K; after the colon there may stand Q4_K_M, Q8_0\."):
        resolve(hub, f"{REPOSITORY}:Q2_K")
    assert hub.fetched == []


def test_what_was_fetched_is_found_again_without_a_network(hub: FakeHub) -> None:
    first = resolve(hub, f"{REPOSITORY}:Q8_0")
    hub.online = False
    assert resolve(hub, f"{REPOSITORY}:Q8_0") == first
    with pytest.raises(ConfigError, match="not in the download cache, and the hub cannot be reached"):
        resolve(hub, "org/other:Q8_0")


def test_all_parts_of_a_split_model_are_fetched(hub: FakeHub) -> None:
    """Their names are kept: the hub's cache links to blobs that have none."""
    for part in (1, 2):
        hub.put(REPOSITORY, f"BF16/tiny-BF16-0000{part}-of-00002.gguf", b"GGUF")
    with pytest.raises(ConfigError, match=r"BF16-00001-of-00002.gguf ends in the middle of its header"):
        resolve(hub, f"{REPOSITORY}:bf16")
    assert sorted(hub.fetched) == ["tiny-BF16-00001-of-00002.gguf", "tiny-BF16-00002-of-00002.gguf"]


def test_a_local_directory_with_a_tag(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = hub.root / REPOSITORY
    assert [file.name for file in resolve(hub, f"{directory}:Q8_0")] == ["tiny-Q8_0.gguf"]
    monkeypatch.chdir(directory.parent)
    assert resolve(hub, "tiny-GGUF:q8_0") == (directory / "tiny-Q8_0.gguf",)
    assert hub.fetched == []
    with pytest.raises(ConfigError, match="tiny-GGUF holds no GGUF file of Q2_K"):
        resolve(hub, "tiny-GGUF:Q2_K")
    with pytest.raises(ConfigError, match="is no repository of the hub"):
        resolve(hub, "tiny-GGUF:q8_0", revision="abc")
    with pytest.raises(ConfigError, match="does not exist"):
        resolve(hub, "./nothing:Q8_0")
