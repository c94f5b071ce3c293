"""Python's garbage collector kept out of the way of start-up and of steps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def long_lived_objects() -> Iterator[None]:
    """No collection while an engine is built; what it leaves is never searched again.

    Tracing programs makes millions of objects: collections took a quarter of a warm start, and one in the middle of
    a step would take a tenth of a second.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
