"""Threads that compute only where others leave them time."""

from __future__ import annotations

import os
import sys
import threading


def give_way() -> None:
    """Let the calling thread compute where all others leave it time; only Linux tells threads apart.

    A nice value is not enough: the many short waits of a step would each wait for a nice thread's turn to end.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
