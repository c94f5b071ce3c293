"""Full pages get their digests and become findable for other requests."""

from __future__ import annotations

from jaxpaged.scheduling.arrays import BoolArray, IntArray, RowArray
from jaxpaged.scheduling.digest_table import DIGEST_BYTES
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
        else:  # some have been let go already
            held = pages.nonzero()[0]
            allocator.publish(pages[held], digests[held])
    rows.published[grown] = last


def _hash_pages(rows: Rows, hasher: PrefixHasher, where: RowArray, last: IntArray) -> None:
    """Hash until `last` [n] pages of each row are. Row by row: decoding fills few pages in a step."""
    hashed = rows.hashed[where]
    behind = (hashed < last).nonzero()[0]
    if not len(behind):
        return
    where, hashed, last = where[behind], hashed[behind], last[behind]
    for row, first, end in zip(where.tolist(), hashed.tolist(), last.tolist(), strict=True):
        request = rows.request(row)
        for page in range(first, end):
            content = hasher.content(request, page) if request.content_hashes else b""
            rows.set_digest(row, page, hasher.page(*rows.hash_input(row, page), content))
    rows.hashed[where] = last
