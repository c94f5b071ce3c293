"""Python's garbage collector kept out of the way of start-up and of steps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside: tracing makes millions of objects, and searching them took a quarter of a start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def freeze_live_objects() -> None:
    """Never search again what lives now: a full collection would take a tenth of a second in the middle of a step.

    For a process that serves one engine until its end: what lives now is not given back when it is dropped.
    """
    gc.collect()
    gc.freeze()
