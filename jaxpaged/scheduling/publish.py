"""Full pages get their digests and become findable for other requests."""

from __future__ import annotations

from itertools import compress

import numpy as np

from jaxpaged.scheduling.arrays import IntArray, RowArray
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
    lines = zip(where.tolist(), first.tolist(), last.tolist(), strict=True)
    digests = [digest for line in lines for digest in _digests(rows, hasher, *line)]
    entries = rows.table_index(where, first, last - first)
    for table, allocator in zip(rows.flat_tables, shard.allocators, strict=True):
        pages = table[entries]
        if np.count_nonzero(pages) == len(pages):
            allocator.publish(pages, digests)
        else:  # some have been let go already
            allocator.publish(pages[pages != 0], list(compress(digests, pages.tolist())))


def _digests(rows: Rows, hasher: PrefixHasher, row: int, first: int, last: int) -> list[bytes]:
    """The digests of pages first..last-1 of a row, hashed now where they are not yet."""
    digests = rows.digests[row]
    if len(digests) <= last:
        request = rows.request(row)
        for page in range(len(digests) - 1, last):
            content = hasher.content(request, page) if request.content_hashes else b""
            digests.append(hasher.page(digests[-1] + rows.page_tokens(row, page), content))
    return digests[first + 1 : last + 1]
