"""Times on a device: many calls queued, one wait, so that the gap between host and device is seen once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

WINDOWS = 5
WINDOW_SECONDS = 0.05
MOST_CALLS = 50


@dataclass(frozen=True)
class Time:
    """Seconds a call: median, fastest and slowest window; `host`: what the host needs to queue a call."""

    median: float
    best: float
    worst: float
    host: float


def measure(call: Callable[[Any], Any], state: Any, wait: Callable[[Any], Any] = jax.block_until_ready) -> Time:
    """Time `state = call(state)`, which may donate its state; two calls warm up, a third sets the window's length."""
    state = wait(call(wait(call(state))))
    began = time.perf_counter()
    state = wait(call(state))
    calls = int(min(MOST_CALLS, max(3, WINDOW_SECONDS / (time.perf_counter() - began))))
    times, queued = [], []
    for _ in range(WINDOWS):
        began = time.perf_counter()
        for _ in range(calls):
            state = call(state)
        queued.append((time.perf_counter() - began) / calls)
        state = wait(state)
        times.append((time.perf_counter() - began) / calls)
    return Time(statistics.median(times), min(times), max(times), statistics.median(queued))
