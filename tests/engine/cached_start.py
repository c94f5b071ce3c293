"""A start with a compile cache, in a process of its own: `python -m tests.engine.cached_start MODEL CACHE`.

Prints, as JSON, how many programs came from the cache and how many did not, when each kept trace was written, and what
the engine answered.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import jax

import tests.conftest  # noqa: F401 - strict JAX, as in the tests
from tests.engine import tiny
from tests.engine.drive import ask, run


def main(directory: Path, cache: Path) -> dict[str, object]:
    seen: Counter[str] = Counter()
    jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.rpartition("/")[2]]))
    engine = tiny.build(directory, tiny.GREEDY, max_num_batched_tokens=8, persistent_cache=True, cache_dir=str(cache))
    answer = run(engine, [ask("a", [1, 2, 3])])["a"]
    traced = {path.name: path.stat().st_mtime_ns for path in (cache / "traced").iterdir()}  # unlike after a miss
    return {"hits": seen["cache_hits"], "misses": seen["cache_misses"], "tokens": answer.tokens, "traced": traced}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
