"""A tensor as torch.save writes it, from bytes that somebody has sent; nothing of it can run."""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

from jaxpaged.weights.torch_file import ARCHIVE_FAULTS, OLD_FORMAT, places
from jaxpaged.weights.torch_pickle import IndexFault, View, read_tensor_index

MAX_INDEX = 4096  # that of one tensor has some 300 bytes
MAX_READ = (1 << 16) + 22  # the longest end of an archive; its directory has some 600


class _Bounded(io.BytesIO):
    """Bytes of which a little is read at once, whatever sizes they claim themselves."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._size = len(data)

    def read(self, size: int | None = -1) -> bytes:
        rest = self._size - self.tell()
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > MAX_READ:
            raise zipfile.BadZipFile("a part of the archive is too large")
        return super().read(wanted)


def read_torch_tensor(data: bytes) -> np.ndarray:
    """The one tensor in the bytes, a view of them. Raises IndexFault, which says why not."""
    if data.startswith(OLD_FORMAT):
        raise IndexFault("they are in the format of torch before 1.6, which can hold code and is not read")
    file = _Bounded(data)
    try:
        with zipfile.ZipFile(file) as archive:
            views, starts = places(archive, file, len(data), read_tensor_index, MAX_INDEX)
    except IndexFault:
        raise
    except (*ARCHIVE_FAULTS, OSError) as error:
        raise IndexFault("they are truncated, or no file of torch.save") from error
    (view,) = views.values()
    return _array(data, view, starts[view.storage.key])


def _array(data: bytes, view: View, start: int) -> np.ndarray:
    dtype = view.storage.dtype
    if math.prod(view.shape) * dtype.itemsize > len(data):
        raise IndexFault("a tensor in it repeats its numbers; save tensor.contiguous()")
    if 0 in view.shape:
        return np.zeros(view.shape, dtype)
    strides = [stride * dtype.itemsize for stride in view.strides]
    return np.ndarray(view.shape, dtype, data, start + view.offset * dtype.itemsize, strides)
