"""New weights into a running model: by the same rules, all or nothing, without a compile and without a second copy."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jaxtyping import Array

from jaxpaged.config import LoadFormat
from jaxpaged.decoder.parameters import HasParameters
from jaxpaged.errors import WeightError
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights import insertion
from jaxpaged.weights.checkpoint import source_struct
from jaxpaged.weights.dummy import dummy_leaves
from jaxpaged.weights.finite import all_finite
from jaxpaged.weights.loader import load_weights
from jaxpaged.weights.orbax_store import finite_parts, save_converted
from jaxpaged.weights.plan import Slice, usual_slices
from jaxpaged.weights.update import update_weights
from tests.weights import tiny_llama

MESHES = [(1, 1), (2, 4)]  # data, model


@contextmanager
def compiles() -> Iterator[list[str]]:
    seen: list[str] = []

    def listen(name: str, _: float, **__: str | int) -> None:
        if "backend_compile" in name:
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def arrays(leaves: tuple[Array, ...]) -> list[np.ndarray]:
    return [np.array(leaf) for leaf in leaves]


@pytest.mark.parametrize("load_format", ["dummy", "orbax"])
def test_nothing_compiles_after_weights_that_were_not_read_as_tensors(tmp_path: Path, load_format: LoadFormat) -> None:
    decoder, mesh = tiny_llama.decoder("bfloat16", 4), make_mesh(4, 2)
    jax.clear_caches()
    insertion._insert_program.cache_clear()
    insertion._make_program.cache_clear()
    if load_format == "orbax":
        save_converted(tmp_path, decoder, dummy_leaves(decoder, mesh))
    leaves = load_weights(tmp_path, decoder, tiny_llama.RULES, mesh, load_format=load_format, progress=False)
    with compiles() as seen:
        updated = update_weights(leaves, tiny_llama.tensors("bfloat16", 1), decoder, tiny_llama.RULES, mesh)
    assert not seen
    assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in updated)


def test_loading_on_virtual_devices_needs_no_collective(tmp_path: Path) -> None:
    """One that runs beside other work may wait for a thread until XLA aborts the process."""
    decoder, mesh = tiny_llama.decoder("bfloat16", 4), make_mesh(4, 2)
    for piece in usual_slices(tiny_llama.RULES, decoder):
        sources = [source_struct(tensor.shape, jnp.bfloat16, mesh) for tensor in piece.assemble.sources()]
        programs = insertion_of(piece, decoder, mesh, sources), all_finite.lower(sources, piece.assemble.plain_dtype)
        for program in programs:
            collectives = re.findall(r"all-\w+|collective-permute|reduce-scatter", program.compile().as_text())
            assert not collectives, piece.target
    leaves = tuple(
        jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding_of(mesh, info.axes)) for info in decoder.params
    )
    assert "all-reduce" not in finite_parts(mesh, decoder.params).lower(leaves).compile().as_text()


def insertion_of(piece: Slice, decoder: HasParameters, mesh: Mesh, sources: Sequence[Any]) -> jax.stages.Lowered:
    """The program that insert() runs for a slice, lowered."""
    infos = [decoder.params[leaf] for leaf in piece.leaves]
    dtypes, shardings = tuple(info.dtype for info in infos), tuple(sharding_of(mesh, info.axes) for info in infos)
    if not infos[0].layers:
        return insertion._make_program(piece.assemble, dtypes, shardings).lower(*sources)
    leaves = tuple(
        jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding)
        for info, sharding in zip(infos, shardings, strict=True)
    )
    index = jax.ShapeDtypeStruct((), jnp.int32)
    return insertion._insert_program(piece.assemble, dtypes, shardings).lower(leaves, index, *sources)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(("data", "model"), MESHES)
def test_update_equals_loading_the_new_checkpoint(tmp_path: Path, data: int, model: int, on_device: bool) -> None:
    decoder, mesh = tiny_llama.decoder("bfloat16", model), make_mesh(model, data)
    old, new = (tiny_llama.tensors("bfloat16", seed) for seed in (0, 1))
    directories = [tiny_llama.write(tmp_path / name, given) for name, given in (("old", old), ("new", new))]
    leaves, expected = (
        load_weights(directory, decoder, tiny_llama.RULES, mesh, progress=False) for directory in directories
    )
    given: dict[str, np.ndarray] | dict[str, Array] = new
    if on_device:
        structs = {name: source_struct(tensor.shape, tensor.dtype, mesh) for name, tensor in new.items()}
        given = {name: jax.device_put(tensor, structs[name].sharding) for name, tensor in new.items()}
    with compiles() as seen:
        updated = update_weights(leaves, given, decoder, tiny_llama.RULES, mesh)
    assert not seen
    for info, want, got in zip(decoder.params, expected, updated, strict=True):
        assert got.sharding == want.sharding
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want), err_msg=info.path)


def test_part_of_the_tensors_in_another_dtype(tmp_path: Path) -> None:
    decoder, mesh = tiny_llama.decoder(), make_mesh(2)
    decoder = tiny_llama.decoder(tensor_parallel=2)
    old, new = tiny_llama.tensors(), tiny_llama.tensors("bfloat16", 1)
    leaves = load_weights(tiny_llama.write(tmp_path, old), decoder, tiny_llama.RULES, mesh, progress=False)
    some = {name: new[name] for name in new if "layers.1" in name or name == "model.norm.weight"}
    updated = update_weights(leaves, some, decoder, tiny_llama.RULES, mesh)
    mixed = old | {name: tensor.astype(np.float32) for name, tensor in some.items()}
    expected = tiny_llama.expected_leaves(mixed, 2)
    for info, got in zip(decoder.params, updated, strict=True):
        want = expected[info.path]
        np.testing.assert_array_equal(np.asarray(got)[tuple(map(slice, want.shape))], want, err_msg=info.path)


def test_arrays_of_another_mesh(tmp_path: Path) -> None:
    """A trainer's arrays, on devices of its own; moving them may compile, once."""
    decoder, mesh = tiny_llama.decoder(tensor_parallel=2), make_mesh(2)
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    leaves = load_weights(directory, decoder, tiny_llama.RULES, mesh, progress=False)
    for seed in (1, 2):
        new = tiny_llama.tensors(seed=seed)
        given = {name: jax.device_put(tensor, jax.devices()[7]) for name, tensor in new.items()}
        with compiles() as seen:
            leaves = update_weights(leaves, given, decoder, tiny_llama.RULES, mesh)
        assert seed == 1 or not seen
        expected = tiny_llama.expected_leaves(new, 2)
        for info, got in zip(decoder.params, leaves, strict=True):
            want = expected[info.path]
            np.testing.assert_array_equal(np.asarray(got)[tuple(map(slice, want.shape))], want, err_msg=info.path)


def test_stacked_leaves_keep_their_buffers(tmp_path: Path) -> None:
    decoder, mesh = tiny_llama.decoder(), make_mesh(1)
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    leaves = load_weights(directory, decoder, tiny_llama.RULES, mesh, progress=False)
    before = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    updated = update_weights(leaves, tiny_llama.tensors(seed=1), decoder, tiny_llama.RULES, mesh)
    for info, pointer, leaf in zip(decoder.params, before, updated, strict=True):
        assert (leaf.unsafe_buffer_pointer() == pointer) or not info.layers


def test_refused_updates_change_nothing(tmp_path: Path) -> None:
    decoder, mesh = tiny_llama.decoder(), make_mesh(1)
    directory = tiny_llama.write(tmp_path, tiny_llama.tensors())
    leaves = load_weights(directory, decoder, tiny_llama.RULES, mesh, progress=False)
    before = arrays(leaves)
    new = tiny_llama.tensors(seed=1)
    gate, q = "model.layers.1.mlp.gate_proj.weight", "model.layers.0.self_attn.q_proj.weight"
    broken = new | {gate: np.where(np.eye(48, 32, dtype=np.bool_), np.float32("nan"), new[gate])}
    cases = [
        (broken, f"NaN or infinity in {gate}"),
        (new | {"stranger": new[gate]}, "unexpected .stranger"),
        (new | {gate: new[gate].T}, "of another shape"),
        ({q: new[q]}, r"2 tensors missing \(model\.layers\.0\.self_attn\.k_proj\.weight"),
        (new | {gate: new[gate].astype(np.int32)}, "not of a float type"),
        ({gate: 1}, f"{gate} is a int; give a NumPy or JAX array"),
        ({"nope": [1.0]}, "nope is a list; give a NumPy or JAX array"),
    ]
    for given, message in cases:
        with pytest.raises(WeightError, match=message):
            update_weights(leaves, given, decoder, tiny_llama.RULES, mesh)
        for old, leaf in zip(before, leaves, strict=True):
            np.testing.assert_array_equal(np.asarray(leaf), old)
    assert update_weights(leaves, {}, decoder, tiny_llama.RULES, mesh) == leaves
