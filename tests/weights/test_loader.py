"""Checkpoint -> leaves against plain numpy: files, dtypes and meshes."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.errors import ConfigError
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights import checkpoint
from jaxpaged.weights.finite import all_finite
from jaxpaged.weights.insertion import blank
from jaxpaged.weights.loader import load_weights
from tests.weights import tiny_llama

MESHES = [(1, 1), (1, 8), (2, 4), (4, 2)]  # data, model


def check(leaves: tuple[Array, ...], decoder: FunctionalDecoder, expected: dict[str, np.ndarray]) -> None:
    assert sorted(expected) == sorted(info.path for info in decoder.params)
    for info, leaf in zip(decoder.params, leaves, strict=True):
        assert (leaf.shape, leaf.dtype) == (info.shape, info.dtype)
        want = np.zeros(info.shape, info.dtype)  # what the checkpoint lacks, rows of the vocabulary, is zero
        want[tuple(map(slice, expected[info.path].shape))] = expected[info.path].astype(info.dtype)
        np.testing.assert_array_equal(np.asarray(leaf), want, err_msg=info.path)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("data", "model"), MESHES)
def test_files_and_meshes(tmp_path: Path, data: int, model: int, shards: int) -> None:
    given = tiny_llama.tensors()
    decoder, mesh = tiny_llama.decoder(tensor_parallel=model), make_mesh(model, data)
    directory = tiny_llama.write(tmp_path, given, shards)
    leaves = load_weights(directory, decoder, tiny_llama.RULES, mesh, progress=False)
    check(leaves, decoder, tiny_llama.expected_leaves(given, model))
    for info, leaf in zip(decoder.params, leaves, strict=True):
        assert leaf.sharding == sharding_of(mesh, info.axes)


@pytest.mark.parametrize(
    ("stored", "served"),
    [
        ("bfloat16", "bfloat16"),
        ("float32", "bfloat16"),
        ("float16", "float32"),
        ("float64", "float32"),
        ("float8_e4m3fn", "bfloat16"),
        ("float8_e5m2", "float32"),
    ],
)
def test_dtypes(tmp_path: Path, stored: str, served: str) -> None:
    given = tiny_llama.tensors(stored)
    decoder = tiny_llama.decoder(served, 2)
    directory = tiny_llama.write(tmp_path, given, 3)
    leaves = load_weights(directory, decoder, tiny_llama.RULES, make_mesh(2), progress=False)
    check(leaves, decoder, tiny_llama.expected_leaves(given, 2))


def test_small_batches_read_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tiny_llama.tensors()
    directory = tiny_llama.write(tmp_path, given, 3)
    seen: list[str] = []
    read = checkpoint.CheckpointReader.read

    def recorded(self: checkpoint.CheckpointReader, names: tuple[str, ...]) -> dict[str, Array]:
        seen.extend(names)
        return read(self, names)

    monkeypatch.setattr(checkpoint.CheckpointReader, "read", recorded)
    monkeypatch.setattr("jaxpaged.weights.loader.BATCH_BYTES", 1)
    decoder = tiny_llama.decoder()
    leaves = load_weights(directory, decoder, tiny_llama.RULES, make_mesh(1), progress=False)
    check(leaves, decoder, tiny_llama.expected_leaves(given))
    assert sorted(seen) == sorted(given)


def test_layers_are_inserted_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stacked leaf that is served is the buffer that was allocated for it: never a second copy."""
    pointers: list[int] = []

    def recorded(*args: object) -> Array:
        array = blank(*args)  # type: ignore[arg-type]
        pointers.append(array.unsafe_buffer_pointer())
        return array

    monkeypatch.setattr("jaxpaged.weights.loader.blank", recorded)
    decoder = tiny_llama.decoder()
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    leaves = load_weights(directory, decoder, tiny_llama.RULES, make_mesh(1), progress=False)
    stacked = [leaf.unsafe_buffer_pointer() for info, leaf in zip(decoder.params, leaves, strict=True) if info.layers]
    assert sorted(stacked) == sorted(pointers)


def test_leaves_start_as_nan() -> None:
    decoder = tiny_llama.decoder()
    for info in decoder.params:
        assert np.isnan(np.asarray(blank(info, make_mesh(1)))).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("size", [1, 7, 4097, 100_000])
def test_one_bad_value_anywhere_is_seen(dtype: str, size: int) -> None:
    good = np.ones(size, np.float32)
    arrays = [jnp.asarray(good).astype(dtype)]
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for place in (0, size // 2, size - 1):
            bad = good.copy()
            bad[place] = value
            arrays.append(jnp.asarray(bad).astype(dtype))
    flags = np.asarray(all_finite(arrays))
    assert flags[0]
    assert not flags[1:].any()


def test_a_value_that_overflows_the_served_dtype_is_seen() -> None:
    array = jnp.full(9, 1e6, jnp.float32)
    assert all_finite([array], jnp.dtype(jnp.bfloat16))[0]
    assert not all_finite([array], jnp.dtype(jnp.float16))[0]


def test_dummy_weights_need_no_checkpoint(tmp_path: Path) -> None:
    def load(model: int, seed: int) -> tuple[Array, ...]:
        mesh = make_mesh(model, 2)
        return load_weights(tmp_path, decoder, tiny_llama.RULES, mesh, load_format="dummy", seed=seed)

    decoder = tiny_llama.decoder("bfloat16", 2)
    one, same, other = load(2, 0), load(1, 0), load(2, 1)
    for info, a, b, c in zip(decoder.params, one, same, other, strict=True):
        assert (a.shape, a.dtype, a.sharding) == (info.shape, info.dtype, sharding_of(make_mesh(2, 2), info.axes))
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        assert (np.asarray(a) != np.asarray(c)).any()
    values = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in one])
    assert abs(values.mean()) < 1e-3
    assert abs(values.std() - 0.02) < 1e-3
    assert len(np.unique(values)) > 1000


def test_dummy_quantized_weights_have_the_same_size(tmp_path: Path) -> None:
    decoder = build_decoder(tiny_llama.decoder().spec, dtype=np.float32, scheme=SCHEMES["int8"])
    leaves = load_weights(tmp_path, decoder, tiny_llama.RULES, make_mesh(1), load_format="dummy")
    found = {info.path: np.asarray(leaf, np.float32) for info, leaf in zip(decoder.params, leaves, strict=True)}
    weight = found["runs.0.0.ffn.down.values"] * found["runs.0.0.ffn.down.scale"][..., None]
    assert abs(weight.std() - 0.02) < 1e-3
    assert len(np.unique(found["runs.0.0.ffn.down.values"])) > 200


def test_a_size_that_the_mesh_cannot_cut_is_refused(tmp_path: Path) -> None:
    """A decoder planned for one device on a mesh of eight."""
    with pytest.raises(ConfigError, match=r"cannot be cut into 8 equal parts; use a tensor_parallel_size"):
        load_weights(tmp_path, tiny_llama.decoder(), tiny_llama.RULES, make_mesh(8))


def test_progress_counts_every_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    load_weights(directory, tiny_llama.decoder(), tiny_llama.RULES, make_mesh(1))
    shown = capsys.readouterr().err
    assert "weights: 100%" in shown
    assert "B/s" in shown
