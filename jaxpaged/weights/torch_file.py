"""torch files (pytorch_model.bin): zip archives in which tensors are stored as they are; each is read where it lies."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxpaged.errors import WeightError
from jaxpaged.hub.pointers import refuse_pointer
from jaxpaged.weights.headers import TensorEntry
from jaxpaged.weights.torch_pickle import MAX_BYTES, IndexFault, View, read_index

OLD_FORMAT = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # how files before torch 1.6 begin
INDEX_NAME, PROGRAM_NAME, ORDER_NAME = "data.pkl", "constants.pkl", "byteorder"
MAX_ORDER, ENCRYPTED = 16, 1
LOCAL_HEADER = struct.Struct("<4s22xHH")
LOCAL_MAGIC = b"PK\x03\x04"
ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
)
MEND = "save the model again as safetensors (save_pretrained of transformers)"


@dataclass(frozen=True, slots=True)
class TorchEntry(TensorEntry):
    """A tensor in a torch file. `place` is its first byte; strides are in elements."""

    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor, read from the disk as it is used. Raises WeightError when the file has changed."""
        if not self.nbytes:
            return np.zeros(self.shape, self.dtype)
        strides = [stride * self.dtype.itemsize for stride in self.strides]
        length = sum((size - 1) * stride for size, stride in zip(self.shape, strides, strict=True))
        try:
            data = np.memmap(self.file, np.uint8, "r", self.place, (length + self.dtype.itemsize,))
            return np.ndarray(self.shape, self.dtype, data, strides=strides)
        except (OSError, ValueError) as error:
            raise WeightError(f"{self.file} changed or broke while it was read: {error}.") from error


def read_torch_entries(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one torch file. Raises WeightError naming the file."""
    refuse_pointer(path)
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return _entries(path, archive, file)
    except IndexFault as fault:
        raise WeightError(f"{path} cannot be read: {fault}; fetch it again, or {MEND}.") from fault
    except OSError as error:
        raise WeightError(f"{path} cannot be read ({error.strerror}).") from error
    except ARCHIVE_FAULTS as error:
        raise WeightError(_no_archive(path)) from error


def _entries(path: Path, archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, TensorEntry]:
    views, starts = places(archive, file, path.stat().st_size, read_index, MAX_BYTES)
    return {name: _entry(path, view, starts[view.storage.key]) for name, view in views.items()}


def places(
    archive: zipfile.ZipFile, file: BinaryIO, size: int, read: Callable[[bytes], dict[str, View]], limit: int
) -> tuple[dict[str, View], dict[str, int]]:
    """The tensors, and where in the file of `size` bytes each storage begins. Raises IndexFault and zipfile's errors.

    `read` reads the index, which may have `limit` bytes.
    """
    members = archive.NameToInfo
    indices = [name for name in members if name.rpartition("/")[2] == INDEX_NAME]
    folder = indices[0].removesuffix(INDEX_NAME) if len(indices) == 1 else None
    if folder is None or folder + PROGRAM_NAME in members:
        raise IndexFault("it is no file of torch.save with the weights of a model")
    views = read(_small(archive, folder + INDEX_NAME, limit))
    if folder + ORDER_NAME in members and _small(archive, folder + ORDER_NAME, MAX_ORDER) != b"little":
        raise IndexFault("it was written by a big-endian machine")
    starts = dict[str, int]()
    for storage in {view.storage for view in views.values()}:
        info = members.get(f"{folder}data/{storage.key}")
        if info is None:
            raise IndexFault(f"its record {storage.key[:80]} is missing")
        starts[storage.key] = _start(file, info, storage.elements * storage.dtype.itemsize, size)
    return views, starts


def _small(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        raise IndexFault(f"its {name[-80:]} is compressed, or larger than {limit} bytes")
    return archive.read(info)


def _start(file: BinaryIO, info: zipfile.ZipInfo, needed: int, file_size: int) -> int:
    """Where a record's data begins in the file. Raises IndexFault where it is not all there, as it is."""
    file.seek(info.header_offset)
    magic, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    start: int = info.header_offset + LOCAL_HEADER.size + name + extra
    plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & ENCRYPTED
    if magic != LOCAL_MAGIC or not plain or info.file_size < needed or start + needed > file_size:
        raise IndexFault(f"its record {info.filename[-80:]} is truncated or not stored as it is")
    return start


def _entry(path: Path, view: View, start: int) -> TensorEntry:
    dtype = view.storage.dtype
    return TorchEntry(path, view.shape, dtype, start + view.offset * dtype.itemsize, view.strides)


def _no_archive(path: Path) -> str:
    with path.open("rb") as file:
        old = file.read(len(OLD_FORMAT)) == OLD_FORMAT
    if old:
        return f"{path} is in the format of torch before 1.6, which can hold code and is not read; {MEND}."
    return f"{path} is truncated or no file of torch.save; fetch it again, or {MEND}."
