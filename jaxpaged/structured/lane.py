"""A lane: grammars that wait to be tried, the lightest first, and the processes that try them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from queue import PriorityQueue

from jaxpaged.structured.trial import Trial
from jaxpaged.structured.trial_process import TrialProcess

_CLASSES = (4 * 1024, 64 * 1024)  # characters of light and of middling grammars; first come, first served in each
_CLOSE_SECONDS = 3.0


@dataclass(slots=True, eq=False)
class WantedTrial:
    """A grammar, as trial_process.message() writes it, that somebody waits for; `waiters` says how many do."""

    message: str
    result: Future[Trial] = field(default_factory=Future)
    waiters: int = 0

    @property
    def weight(self) -> int:
        return sum(len(self.message) > limit for limit in _CLASSES)


@dataclass(slots=True, eq=False)
class TrialLane:
    """Owner of a queue and of a thread for each process; both begin when they are needed.

    A grammar that computes for more than `seconds` goes to `overrun`, which a thread of this lane calls. One that
    nobody waits for any more is left out.
    """

    processes: tuple[TrialProcess, ...]
    seconds: float
    overrun: Callable[[WantedTrial], None]
    _queue: PriorityQueue[tuple[int, int, WantedTrial | None]] = field(default_factory=PriorityQueue)
    _order: count[int] = field(default_factory=count)
    _threads: list[threading.Thread] = field(default_factory=list)
    _busy: int = 0  # grammars that wait or are being tried
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, wanted: WantedTrial) -> None:
        """Try a grammar when those that are lighter have been tried. Any thread may call it."""
        with self._lock:
            self._busy += 1
            if self._busy > len(self._threads) < len(self.processes):
                process = self.processes[len(self._threads)]
                thread = threading.Thread(target=self._serve, args=(process,), name="grammar-trial", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put((wanted.weight, next(self._order), wanted))

    def close(self) -> None:
        """End the processes and the threads."""
        for process in self.processes:
            process.close()
        for _ in self._threads:
            self._queue.put((-1, next(self._order), None))
        for thread in self._threads:
            if thread is not threading.current_thread():  # which may be the one that collects garbage
                thread.join(_CLOSE_SECONDS)

    def _serve(self, process: TrialProcess) -> None:
        while (wanted := self._queue.get()[2]) is not None:
            if text := wanted.message:  # empty when the last one who waited has left, which may be at any time
                trial = process.ask(text, self.seconds)
                if trial is None:
                    self.overrun(wanted)
                else:
                    wanted.result.set_result(trial)
            with self._lock:
                self._busy -= 1
            process.start()
        process.end()
