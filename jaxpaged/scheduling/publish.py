"""Full pages get their digests and become findable for other requests."""

from __future__ import annotations

from itertools import compress

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
    _hash_pages(rows, hasher, where, last)
    lines = zip(where.tolist(), first.tolist(), last.tolist(), strict=True)
    digests = [digest for row, begin, end in lines for digest in rows.digests[row][begin + 1 : end + 1]]
    entries = rows.table_index(where, first, last - first)
    for table, allocator in zip(rows.tables, shard.allocators, strict=True):
        pages = table.reshape(-1)[entries]
        if pages.all():
            allocator.publish(pages, digests)
        else:  # some have been let go already
            allocator.publish(pages[pages != 0], list(compress(digests, pages.tolist())))


def _hash_pages(rows: Rows, hasher: PrefixHasher, where: RowArray, last: IntArray) -> None:
    """Hash until `last` [n] pages of each row are. Row by row: decoding fills few pages in a step."""
    for row, end in zip(where.tolist(), last.tolist(), strict=True):
        digests = rows.digests[row]
        if len(digests) <= end:
            request = rows.request(row)
            for page in range(len(digests) - 1, end):
                content = hasher.content(request, page) if request.content_hashes else b""
                digests.append(hasher.page(digests[-1] + rows.page_tokens(row, page), content))
