"""How much a thread gives way to others."""

from __future__ import annotations

import os
import sys
import threading


def give_way(niceness: int) -> None:
    """Let the calling thread compute where others leave it time; only Linux tells threads apart."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
