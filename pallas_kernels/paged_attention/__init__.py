"""Attention over a paged pool of keys and values."""

from pallas_kernels.paged_attention.api import PagedAttentionResult, implementations, paged_attention
from pallas_kernels.paged_attention.layout import (
    PoolLayout,
    copy_pages,
    device_layout,
    pool_layout,
    read_pages,
    write_pages,
)
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences

__all__ = [
    "PagedAttentionResult",
    "PoolLayout",
    "ScoreMod",
    "Sequences",
    "copy_pages",
    "device_layout",
    "implementations",
    "paged_attention",
    "pool_layout",
    "read_pages",
    "write_pages",
]
