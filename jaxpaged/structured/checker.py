"""The front end tries grammars in processes of their own: a bad one is refused at once, a slow one delays no other."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import sha256

from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.params.structured import PARAM, GrammarCost, StructuredOutputsParams
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.structured.byte_vocabulary import ByteVocabulary
from jaxpaged.structured.lane import TrialLane, WantedTrial
from jaxpaged.structured.trial import Trial
from jaxpaged.structured.trial_process import UNTRIED, TrialProcess, message

COMPILE_SECONDS = 5.0
QUICK_SECONDS = 0.25  # what moderate grammars take at most; then one goes to the slow lane, and begins anew there
QUICK_PROCESSES = 2
QUICK_NICENESS, SLOW_NICENESS = 5, 15
MAX_KNOWN = 4096  # results kept, of less than a kilobyte each
MAX_WAITING = 64 * 1024 * 1024  # characters of the grammars that wait


class GrammarChecker:
    """Owner of two lanes, of the results of the last grammars, and of those that are being tried, by digest.

    Seconds are of computing, so neither waiting nor a busy machine makes a grammar slow.
    """

    def __init__(self, vocabulary: ByteVocabulary | None = None, seconds: float = COMPILE_SECONDS) -> None:
        vocabulary = vocabulary or ByteVocabulary()
        quick = tuple(TrialProcess(vocabulary, QUICK_NICENESS) for _ in range(QUICK_PROCESSES))
        late = Trial(GrammarCost(), str(too_slow(seconds)))
        patient = TrialProcess(vocabulary, SLOW_NICENESS)
        self._slow = TrialLane((patient,), seconds, lambda one: one.result.set_result(late))
        self._quick = TrialLane(quick, min(seconds, QUICK_SECONDS), self._slow.put)
        self._entries: OrderedDict[bytes, WantedTrial] = OrderedDict()
        self._waiting = 0
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close, self._quick, self._slow)

    def check(self, params: SamplingParams) -> None:
        """Raise RequestError when the request's grammar cannot be used, waiting for that; note what it costs."""
        wanted = params.structured_outputs
        if wanted is not None:
            with self._trial(wanted) as result:
                _conclude(wanted, result.result())

    async def check_soon(self, params: SamplingParams) -> None:
        """The same on an event loop, which goes on meanwhile."""
        wanted = params.structured_outputs
        if wanted is not None:
            with self._trial(wanted) as result:
                _conclude(wanted, await asyncio.shield(asyncio.wrap_future(result)))  # others may wait for it too

    def close(self) -> None:
        """End the processes."""
        self._finalizer()

    @contextmanager
    def _trial(self, params: StructuredOutputsParams) -> Iterator[Future[Trial]]:
        """The result of a grammar, which is given up when the last one who waits for it leaves."""
        text = message(params)
        digest = sha256(text.encode()).digest()
        with self._lock:
            known = self._entries.get(digest)
            one = known or self._begin(digest, text)
            one.waiters += 1
            self._entries.move_to_end(digest)
        if known is None:
            self._quick.put(one)  # after it has somebody who waits
        try:
            yield one.result
        finally:
            with self._lock:
                one.waiters -= 1
                if one.waiters == 0 and one.message:
                    self._settle(digest, one)

    def _begin(self, digest: bytes, text: str) -> WantedTrial:
        if self._waiting + len(text) > MAX_WAITING:
            raise QueueFullError("too many grammars wait to be compiled; try again later.", PARAM)
        one = self._entries[digest] = WantedTrial(text)
        self._waiting += len(text)
        return one

    def _settle(self, digest: bytes, one: WantedTrial) -> None:
        """Nobody waits for it: its result is kept, its text is not."""
        self._waiting -= len(one.message)
        one.message = ""
        if not one.result.done() or one.result.result() is UNTRIED:
            del self._entries[digest]
        elif len(self._entries) > MAX_KNOWN:
            oldest = next(key for key, entry in self._entries.items() if entry.waiters == 0)
            del self._entries[oldest]


def too_slow(seconds: float) -> RequestError:
    return RequestError(f"the grammar takes more than {seconds:g} seconds to compile; make it simpler.", PARAM)


def _conclude(params: StructuredOutputsParams, trial: Trial) -> None:
    if trial.refused is not None:
        raise RequestError(trial.refused, params._param)
    params._cost = trial.cost


def _close(*lanes: TrialLane) -> None:
    for lane in lanes:
        lane.close()
