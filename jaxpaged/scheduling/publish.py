"""Full pages get their digests and become findable for other requests."""

from __future__ import annotations

import numpy as np

from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, Digests, as_digests
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.shard import Shard


def publish_full_pages(shard: Shard, hasher: PrefixHasher, sampled: BoolArray) -> None:
    """Offer the newly filled pages of the rows in `sampled`, bool [R], to the prefix cache.

    These are rows whose latest logits were finite, so nothing that a failing step computed is ever found.
    """
    rows = shard.rows
    full = rows.computed // shard.page_size
    grown = (sampled & (full > rows.published)).nonzero()[0]
    if not len(grown):
        return
    first, last = rows.published[grown], full[grown]
    _hash_pages(rows, hasher, grown, last)
    counts = last - first
    entries = rows.table_index(grown, first, counts)
    digests = rows.digests.reshape(-1, DIGEST_BYTES // 8)[entries + 1]
    for table, allocator in zip(rows.tables, shard.allocators, strict=True):
        pages = table.reshape(-1)[entries]
        if pages.all():
            allocator.publish(pages, digests)
        else:  # some are behind a window already
            held = pages.nonzero()[0]
            allocator.publish(pages[held], digests[held])
    rows.published[grown] = last


def _hash_pages(rows: Rows, hasher: PrefixHasher, where: RowArray, last: IntArray) -> None:
    """Hash until `last` [n] pages of each row are. One page a round: decoding fills one at a time."""
    behind = rows.hashed[where] < last
    while behind.any():
        where, last = where[behind], last[behind]
        page = rows.hashed[where]
        parents = rows.digests[where, page]  # the digest of page p stands at p + 1
        rows.digests[where, page + 1] = _hash_page(rows, hasher, where, page, parents)
        rows.hashed[where] = page + 1
        behind = page + 1 < last


def _hash_page(rows: Rows, hasher: PrefixHasher, where: RowArray, page: IntArray, parents: Digests) -> Digests:
    """The digest of one page of each row: uint64 [n, 4]."""
    positions = (page * hasher.page_size)[:, None] + np.arange(hasher.page_size)[None, :]
    tokens = rows.history.reshape(-1)[rows.history_index(where[:, None], positions)]
    data = np.concatenate((parents.view(np.int32), tokens), axis=1).tobytes()
    width = len(data) // len(where)
    messages = [data[start : start + width] for start in range(0, len(data), width)]
    if not rows.has_content[where].any():
        return as_digests(b"".join(map(hasher.page, messages)))
    contents = [
        hasher.content(rows.request(row), index) for row, index in zip(where.tolist(), page.tolist(), strict=True)
    ]
    return as_digests(b"".join(map(hasher.page, messages, contents)))
