"""Zeroed arrays of a CPU whose memory the system gives only as it is used."""

from __future__ import annotations

import ctypes
import mmap
import sys

from jaxtyping import Array

DONT_NEED = 4  # Linux: a private page that is dropped so reads as zeros when it is touched again


def release_zeros(array: Array) -> None:
    """Give the memory of an array of zeros back to the system; it stays an array of zeros.

    XLA fills what it allocates, so that a pool that is hardly used would be resident as a whole. Does nothing for other
    devices and other systems.
    """
    if sys.platform != "linux" or next(iter(array.devices())).platform != "cpu":
        return
    array.block_until_ready()
    libc = ctypes.CDLL(None)
    for shard in array.addressable_shards:
        start = shard.data.unsafe_buffer_pointer()
        first, last = -(-start // mmap.PAGESIZE), (start + shard.data.nbytes) // mmap.PAGESIZE
        if first < last:
            pages = ctypes.c_void_p(first * mmap.PAGESIZE), ctypes.c_size_t((last - first) * mmap.PAGESIZE)
            libc.madvise(*pages, DONT_NEED)
