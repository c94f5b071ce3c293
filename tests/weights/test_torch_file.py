"""torch's files are read as they lie, like safetensors files of the same tensors."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jaxpaged.errors import ConfigError, WeightError
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.convert import settings_files
from jaxpaged.weights.loader import load_weights
from jaxpaged.weights.on_disk import checkpoint_arrays
from jaxpaged.weights.torch_file import read_torch_entries
from tests.weights import tiny_llama, torch_zip
from tests.weights.torch_zip import index_of, storage, view, write_archive, write_file


@pytest.mark.parametrize(
    ("stored", "served", "shards", "model"),
    [("float32", "float32", 1, 1), ("bfloat16", "bfloat16", 3, 2), ("float16", "float32", 1, 2)],
)
def test_the_leaves_are_those_of_the_same_safetensors(
    tmp_path: Path, stored: str, served: str, shards: int, model: int
) -> None:
    given, decoder, mesh = tiny_llama.tensors(stored), tiny_llama.decoder(served, model), make_mesh(model)
    named = {
        "torch": torch_zip.write(tmp_path / "torch", given, shards),
        "safetensors": tiny_llama.write(tmp_path / "safetensors", given),
    }
    ours, want = (load_weights(each, decoder, tiny_llama.RULES, mesh, progress=False) for each in named.values())
    for left, right in zip(ours, want, strict=True):
        assert left.sharding == right.sharding
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))
    assert {path.name for path in settings_files(named["torch"])} == {"config.json", "tokenizer.json"}


def test_every_dtype(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = {kind: rng.integers(0, 2, (3, 5)).astype(np.dtype(kind)) for kind in torch_zip.KINDS}
    wanted |= {"scalar": np.array(2.5, np.float32), "none": np.zeros((0, 4), ml_dtypes.bfloat16)}
    write_file(tmp_path / "pytorch_model.bin", wanted)
    found = checkpoint_arrays(tmp_path)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype)
        assert found[name].tobytes() == tensor.tobytes()


def test_views_of_one_storage(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    whole = storage("Float", "0", 24)
    views = {
        "all": view(whole, (4, 6), (6, 1)),
        "transposed": view(whole, (6, 4), (1, 6)),
        "part": view(whole, (3, 2), (6, 1), 8),
        "every_other": view(whole, (2, 6), (12, 1)),
        "expanded": view(whole, (3, 2), (0, 0), 5),
    }
    write_archive(tmp_path / "pytorch_model.bin", index_of(views), {"0": base.tobytes()})
    found = checkpoint_arrays(tmp_path)
    wanted = [base, base.T, base[1:, 2:4], base[::2], np.full((3, 2), 5.0)]
    for array, want in zip(found.values(), wanted, strict=True):
        np.testing.assert_array_equal(array, want)


def test_safetensors_come_first(tmp_path: Path) -> None:
    directory = torch_zip.write(tmp_path, {"a": np.zeros(2, np.float32)})
    tiny_llama.write_file(directory / "model.safetensors", {"b": np.zeros(2, np.float32)})
    assert checkpoint_arrays(directory).keys() == {"b"}


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    directory = torch_zip.write(tmp_path, tiny_llama.tensors(), 3)
    (directory / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(WeightError, match=r"00002-of-00003\.bin is missing, but pytorch_model\.bin\.index\.json puts"):
        checkpoint_arrays(directory)


def test_a_file_that_shrinks_after_its_index_was_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "pytorch_model.bin", {"a": np.ones(1000, np.float32)})
    entry = read_torch_entries(path)["a"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ConfigError, match="changed or broke while it was read"):
        entry.array()  # type: ignore[attr-defined]
