"""An audit of everything that the scheduler owns, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.live import LiveRequests
from jaxpaged.scheduling.shard import Shard


def check_owners(live: LiveRequests, shards: Sequence[Shard]) -> None:
    """Raise InvariantError with what is wrong."""
    live.queue.check()
    for shard in shards:
        shard.check()
    running = [request for shard in shards for request in shard.rows.requests if request is not None]
    found = [*running, *live.queue]
    found += [child for parent in found for child in parent.children]
    if sorted(map(id, found)) != sorted(map(id, live.table.values())):
        raise InvariantError("the request table differs from the queue and the rows")
    if any(child.parent is not parent for parent in found for child in parent.children):
        raise InvariantError("a child does not know its parent")
