"""Reads tensors of safetensors files (by Orbax) and of torch files into sharded arrays, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpaged.errors import WeightError
from jaxpaged.sharding.mesh import MODEL
from jaxpaged.weights.headers import TensorEntry
from jaxpaged.weights.torch_file import TorchEntry

# Read sizes above malloc's threshold cost a page fault per 4 KiB each time: with Orbax's own 128 MiB chunks and one big
# batch, 1 GB takes twice as long on a CPU.
CHUNK_BYTES = 16 << 20
BATCH_BYTES = 64 << 20


class TensorReader(Protocol):
    """What files of one format hold, and a way to read it onto a mesh."""

    @property
    def entries(self) -> Mapping[str, TensorEntry]: ...

    def read(self, names: Sequence[str]) -> dict[str, jax.Array]:
        """These tensors in the file's dtype, their first axis over `model` where it divides. Raises WeightError."""
        ...


@dataclass(frozen=True)
class CheckpointReader:
    """Tensors by name from the files of `entries`, onto a mesh."""

    entries: Mapping[str, TensorEntry]
    mesh: Mesh

    def read(self, names: Sequence[str]) -> dict[str, jax.Array]:
        """These tensors in the file's dtype, their first axis over `model` where it divides. Raises WeightError."""
        import orbax.checkpoint.experimental.v1 as ocp  # takes long, and runs beside the compiler here

        loaded: dict[str, jax.Array] = {}
        context = ocp.Context()
        context.checkpoint_layout = ocp.options.CheckpointLayout.SAFETENSORS
        context.safetensors.read_chunk_bytes = CHUNK_BYTES
        for file in sorted({self.entries[name].file for name in names}):
            wanted = {name: self.abstract(name) for name in names if self.entries[name].file == file}
            by_torch = {name: entry for name in wanted if isinstance(entry := self.entries[name], TorchEntry)}
            loaded.update({name: _placed(entry, wanted[name]) for name, entry in by_torch.items()})
            try:
                with context:
                    loaded.update(ocp.load(file, wanted) if not by_torch else {})
            except (ValueError, KeyError, OSError) as error:
                raise WeightError(f"{file} changed or broke while it was read: {error}") from error
        return loaded

    def abstract(self, name: str) -> jax.ShapeDtypeStruct:
        entry = self.entries[name]
        return source_struct(entry.shape, entry.dtype, self.mesh)


def read_ahead(reader: TensorReader, batches: Sequence[Sequence[str]]) -> Iterator[dict[str, jax.Array]]:
    """Load one batch after another, each while the caller works on the one before."""
    with ThreadPoolExecutor(1, thread_name_prefix="weights") as pool:
        following: Future[dict[str, jax.Array]] | None = None
        for batch in batches:
            current, following = following, pool.submit(reader.read, batch)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()


def _placed(entry: TorchEntry, struct: jax.ShapeDtypeStruct) -> jax.Array:
    """A tensor of a torch file, each device's part copied from the mapped file."""
    array = entry.array()
    return jax.make_array_from_callback(
        entry.shape, struct.sharding, lambda index: np.array(array[index], struct.dtype, order="C")
    )


def source_struct(shape: Sequence[int], dtype: jax.typing.DTypeLike, mesh: Mesh) -> jax.ShapeDtypeStruct:
    """How a checkpoint tensor lies on the mesh before assembly: rows over `model` where they divide, else whole.

    Contiguous in the file either way; the assembly moves what belongs elsewhere between devices. On a CPU's virtual
    devices it is whole: a collective that runs beside other work there may wait for a thread until XLA aborts.
    """
    virtual = mesh.devices.flat[0].platform == "cpu"
    split = bool(shape) and shape[0] % mesh.shape[MODEL] == 0 and not virtual
    sharding = NamedSharding(mesh, PartitionSpec(MODEL) if split else PartitionSpec())
    return jax.ShapeDtypeStruct(tuple(shape), jax.dtypes.canonicalize_dtype(dtype), sharding=sharding)
