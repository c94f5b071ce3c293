"""Fills all memory of the KV pools that holds nothing: free pages, the null page, slots that were not written yet."""

from __future__ import annotations

import jax
import numpy as np

from jaxpaged.engine.engine import Engine
from jaxpaged.scheduling.shard import Shard


def poison(engine: Engine, value: float) -> None:
    """Needs an engine without plans in flight: with `plans_in_flight` 1, between its steps."""
    assert not engine._in_flight
    pool = engine.runner.pool
    arrays = []
    for group, array in enumerate(pool.arrays):
        pages = pool.num_pages(group)
        kept = np.concatenate([_holds_something(shard, group, pages) for shard in engine.scheduler.shards])
        content = np.array(array)
        axes = pool.geometry.layout.axes
        page_slot = np.moveaxis(content, (axes.index("page"), axes.index("slot")), (0, 1))  # a view
        page_slot[~kept] = value
        arrays.append(jax.device_put(content, array.sharding))
    engine.runner.pool = pool.with_arrays(tuple(arrays))


def _holds_something(shard: Shard, group: int, pages: int) -> np.ndarray:
    """bool [pages, slots] of one data shard: computed tokens of rows, and pages that the prefix cache may give."""
    allocator, rows = shard.allocators[group], shard.rows
    kept = np.zeros((pages, shard.page_size), np.bool_)
    kept[: allocator.num_pages][allocator._contents.known] = True
    for row in np.flatnonzero(rows.active).tolist():
        first = int(rows.first_page[group][row])
        positions = np.arange(first * shard.page_size, int(rows.computed[row]))
        kept[rows.tables[group][row, positions // shard.page_size], positions % shard.page_size] = True
    kept[0] = False
    return kept
