"""Checkpoint -> the decoder's leaves, sharded over the mesh, ready to serve.

hub (directory) -> headers (what is there) -> rules (a plan: every tensor used exactly once)
  -> checkpoint (Orbax reads, a batch ahead) -> assembly (transform, cast, place)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jax.sharding import Mesh
from jaxtyping import Array, Bool
from tqdm import tqdm

from jaxpaged.config import LoadFormat
from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.decoder.parameters import HasParameters
from jaxpaged.errors import WeightError
from jaxpaged.gguf.unpack import pointed_files
from jaxpaged.models.weight_rules import WeightRules
from jaxpaged.sharding.rules import check_divides
from jaxpaged.weights.checkpoint import BATCH_BYTES, CheckpointReader, TensorReader, read_ahead
from jaxpaged.weights.dummy import dummy_leaves
from jaxpaged.weights.entries import read_entries
from jaxpaged.weights.finite import all_finite, refuse_non_finite
from jaxpaged.weights.gguf_reader import GgufReader
from jaxpaged.weights.headers import TensorEntry
from jaxpaged.weights.insertion import Leaves, blank, insert
from jaxpaged.weights.laid_out import lay_out
from jaxpaged.weights.mxfp4 import Mxfp4Reader, plain_entries
from jaxpaged.weights.orbax_store import is_converted, load_converted
from jaxpaged.weights.plan import Slice, WeightPlan, plan_weights
from jaxpaged.weights.update import prepare_update


def load_weights(
    directory: Path,
    decoder: FunctionalDecoder,
    rules: WeightRules,
    mesh: Mesh,
    *,
    load_format: LoadFormat = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Leaves:
    """The leaves of `decoder`, in the order of decoder.params. Raises WeightError or ConfigError, naming what is wrong.

    `auto` takes a converted checkpoint or GGUF files where the directory has them, else safetensors. `seed` is for
    dummy weights.
    """
    for info in decoder.params:
        check_divides(mesh, info.path, info.shape, info.axes)
    converted = load_format == "orbax" or (load_format == "auto" and is_converted(directory))
    if load_format != "dummy" and not converted:
        files = pointed_files(directory)
        if files is None:
            return load_safetensors(directory, decoder, rules, mesh, progress=progress)
        return load_tensors(files[0], decoder, rules, mesh, GgufReader.open(files, mesh), progress=progress)
    prepare_update(decoder, rules, mesh)  # else the first update_weights() would compile
    if converted:
        leaves = load_converted(directory, decoder.portable or decoder, mesh, progress=progress)
        return lay_out(decoder, leaves)
    return dummy_leaves(decoder, mesh, seed)


def check_weights(directory: Path, decoder: HasParameters, rules: WeightRules, mesh: Mesh) -> tuple[int, int]:
    """How many tensors, of how many bytes, a decoder would be loaded from; none is read. Raises WeightError."""
    files = pointed_files(directory)
    entries = plain_entries(read_entries(directory)) if files is None else GgufReader.open(files, mesh).entries
    names = {name for piece in _plan(directory, decoder, rules, entries).slices for name in piece.sources}
    return len(names), sum(entries[name].nbytes for name in names)


def load_safetensors(
    directory: Path, decoder: HasParameters, rules: WeightRules, mesh: Mesh, *, progress: bool = True
) -> Leaves:
    """Read a Hugging Face checkpoint. Raises WeightError."""
    reader = Mxfp4Reader.over(CheckpointReader(read_entries(directory), mesh))
    return load_tensors(directory, decoder, rules, mesh, reader, progress=progress)


def load_tensors(
    directory: Path,
    decoder: HasParameters,
    rules: WeightRules,
    mesh: Mesh,
    reader: TensorReader,
    *,
    progress: bool = True,
) -> Leaves:
    """Read what `reader` has. Beside the leaves, two batches of tensors are in memory. `directory` is for messages."""
    plan = _plan(directory, decoder, rules, reader.entries)
    batches = list(_batches(plan.slices, reader))
    wanted = [tuple({name: None for piece in batch for name in piece.sources}) for batch in batches]
    leaves: dict[int, Array] = {}
    checks: list[tuple[tuple[str, ...], Bool[Array, "_"]]] = []
    total = sum(reader.entries[name].nbytes for names in wanted for name in names)
    with tqdm(total=total, desc="weights", unit="B", unit_scale=True, disable=not progress) as bar:
        for batch, arrays in zip(batches, read_ahead(reader, wanted), strict=True):
            for piece in batch:
                sources = [arrays[name] for name in piece.sources]
                checks.append((piece.sources, all_finite(sources, piece.assemble.plain_dtype)))
                before = _layered(decoder, mesh, piece, leaves)
                after = insert(decoder.params, mesh, piece, before, sources)
                leaves.update(zip(piece.leaves, after, strict=True))
            bar.update(sum(array.nbytes for array in arrays.values()))
    refuse_non_finite(directory, checks)
    return tuple(leaves[leaf] for leaf in range(len(decoder.params)))


def _plan(
    directory: Path, decoder: HasParameters, rules: WeightRules, entries: Mapping[str, TensorEntry]
) -> WeightPlan:
    available = {name: (entry.shape, entry.dtype) for name, entry in entries.items()}
    try:
        return plan_weights(rules, decoder, available)
    except WeightError as error:
        raise WeightError(f"{directory}: {error}") from error


def _layered(decoder: HasParameters, mesh: Mesh, piece: Slice, leaves: dict[int, Array]) -> Leaves:
    """The stacked leaves that `piece` goes into; none where it makes whole leaves."""
    infos = [(leaf, decoder.params[leaf]) for leaf in piece.leaves if decoder.params[leaf].layers]
    return tuple(leaves[leaf] if leaf in leaves else blank(info, mesh) for leaf, info in infos)


def _batches(slices: Sequence[Slice], reader: TensorReader) -> Iterator[list[Slice]]:
    """The slices in the order of their first tensor in the files, in batches of about BATCH_BYTES."""

    def place(piece: Slice) -> tuple[Path, int]:
        return min((reader.entries[name].file, reader.entries[name].place) for name in piece.sources)

    batch: list[Slice] = []
    size = 0
    for piece in sorted(slices, key=place):
        batch.append(piece)
        size += sum(reader.entries[name].nbytes for name in piece.sources)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
