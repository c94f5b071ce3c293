"""Tensors of a checkpoint as arrays that the disk stands behind."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxpaged.errors import WeightError
from jaxpaged.weights.on_disk import checkpoint_arrays


def test_every_tensor_of_every_file_in_its_dtype(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = {
        "model-1.safetensors": {
            "a": rng.standard_normal((3, 5)).astype(np.float32),
            "b": rng.standard_normal(7).astype(ml_dtypes.bfloat16),
            "none": np.zeros((0, 4), np.float16),
        },
        "model-2.safetensors": {"c": rng.integers(0, 9, (2, 2, 2)), "scalar": np.array(2.5, np.float32)},
    }
    for name, tensors in files.items():
        save_file(tensors, tmp_path / name)
    found = checkpoint_arrays(tmp_path)
    wanted = {name: tensor for tensors in files.values() for name, tensor in tensors.items()}
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype)
        assert found[name].tobytes() == tensor.tobytes()


@pytest.mark.parametrize("bad", ["missing", "file", "empty"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, bad: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightError, match=str(tmp_path / bad)):
        checkpoint_arrays(tmp_path / bad)
