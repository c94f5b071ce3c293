"""An engine that nobody uses any more gives its memory back, although no collection ran while it was built."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from tests.engine import tiny


def test_a_dropped_engine_is_collected(llama: Path) -> None:
    engine = tiny.build(llama, tiny.GREEDY, max_num_batched_tokens=8, max_num_seqs=2)
    assert gc.isenabled()
    scheduler, weight = weakref.ref(engine.scheduler), weakref.ref(engine.runner.leaves[0])
    del engine
    gc.collect()
    assert weight() is None
    assert scheduler() is None
