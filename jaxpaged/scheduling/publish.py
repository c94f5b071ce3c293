"""Full pages get their digests and become findable for other requests."""

from __future__ import annotations

import numpy as np

from jaxpaged.scheduling.arrays import IntArray, RowArray
from jaxpaged.scheduling.digest_table import as_digests
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.shard import Shard


def publish_full_pages(shard: Shard, hasher: PrefixHasher, where: RowArray, computed: IntArray) -> None:
    """Offer the newly filled pages of the rows `where` [n] to the prefix cache; `computed` [n] of their tokens are.

    These are rows whose latest logits were finite, so nothing that a failing step computed is ever found.
    """
    rows = shard.rows
    full = computed // shard.page_size
    grown = (full > rows.published[where]).nonzero()[0]
    if not len(grown):
        return
    where, last = where[grown], full[grown]
    first = rows.published[where]
    rows.published[where] = last
    _hash_pages(rows, hasher, where, last)
    entries = rows.table_index(where, first, last - first)
    digests = rows.flat_digests[entries + 1]
    for table, allocator in zip(rows.flat_tables, shard.allocators, strict=True):
        pages = table[entries]
        if np.count_nonzero(pages) == len(pages):
            allocator.publish(pages, digests)
        else:  # some have been let go already
            held = pages.nonzero()[0]
            allocator.publish(pages[held], digests[held])


def _hash_pages(rows: Rows, hasher: PrefixHasher, where: RowArray, last: IntArray) -> None:
    """Hash until `last` [n] pages of each row are: the next page of every row that lacks one, then the next."""
    behind = (rows.hashed[where] < last).nonzero()[0]
    while len(behind):
        where, last = where[behind], last[behind]
        pages = rows.hashed[where]
        data, contents = rows.hash_inputs(where, pages), [b""] * len(where)
        if np.count_nonzero(rows.has_content[where]):
            contents = _contents(rows, hasher, where, pages)
        width = len(data) // len(where)
        digests = [
            hasher.page(data[index * width : (index + 1) * width], content) for index, content in enumerate(contents)
        ]
        rows.set_digests(where, pages, as_digests(digests))
        behind = (pages + 1 < last).nonzero()[0]


def _contents(rows: Rows, hasher: PrefixHasher, where: RowArray, pages: IntArray) -> list[bytes]:
    """What begins in a page of each row beside its tokens."""
    requests = rows.requests_in(where)
    return [hasher.content(request, page) for request, page in zip(requests, pages.tolist(), strict=True)]
