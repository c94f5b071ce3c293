"""Grammars as an engine sees them: structured requests are queued when their grammar is compiled, go on when the mask
for their next token is known, and end when nothing may follow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from jaxpaged.engine.collect import finish
from jaxpaged.engine.followers import CommittedStep
from jaxpaged.engine.grammars.compiling import LONGEST_WAIT, CompilingRequests, WaitingRequest
from jaxpaged.engine.grammars.first_token import first_token_left
from jaxpaged.engine.grammars.masks import SequenceMasks, mask_of
from jaxpaged.engine.messages import EngineOutput
from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.params.no_token import no_token_left
from jaxpaged.params.structured import PARAM
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.structured.checker import too_slow
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.constraint import Mask

GRACE = 0.002  # seconds that a step waits for masks of the step before, so that their rows stay together
IDLE = 0.01  # seconds that an engine waits when it has nothing else to do

log = logging.getLogger("jaxpaged")

_Done = WaitingRequest | tuple[int, Future[Mask]]


class Grammars:
    """A StepFollower. False while no request is structured. One thread, the engine's, calls it."""

    def __init__(
        self,
        scheduler: Scheduler,
        compiler: GrammarCompiler,
        *,
        compile_seconds: float = LONGEST_WAIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.compiler = compiler
        self._scheduler = scheduler
        self._clock = clock
        self._done: SimpleQueue[_Done] = SimpleQueue()  # what the threads have finished
        self._compiling = CompilingRequests(compiler, self._done.put, compile_seconds, clock)
        self._masks = SequenceMasks(compiler.vocabulary.words, lambda *known: self._done.put(known))
        self._ended: list[EngineOutput] = []
        self._grace_until = 0.0

    def __len__(self) -> int:
        """Sequences that run, requests whose grammar is being compiled, and last outputs not yet given out."""
        return len(self._masks) + len(self._compiling) + len(self._ended)

    @property
    def num_compiling(self) -> int:
        """Requests that wait for their grammar."""
        return len(self._compiling)

    def add(self, request: Request, children: Sequence[Request]) -> None:
        """Compile a request's grammar, then queue it with its child samples. Raises QueueFullError."""
        self._scheduler.check_room(self.num_compiling)
        self._compiling.add(request, children)

    def between_steps(self, *, idle: bool) -> list[EngineOutput]:
        """What has been compiled and worked out takes effect; returns the last outputs of requests that end by it.

        Waits a moment for masks of the step before, a longer one where the engine is `idle`.
        """
        deadline = self._clock() + IDLE if idle else self._grace_until
        compiled: list[WaitingRequest] = []
        while self._masks.num_waiting or self._compiling:
            try:
                patience = deadline - self._clock() if idle or self._masks.num_waiting else 0
                done = self._done.get(timeout=patience) if patience > 0 else self._done.get_nowait()
            except Empty:
                break
            if isinstance(done, WaitingRequest):
                compiled += [done] if self._compiling.take(done) else []
            else:
                self._go_on(*done)
            if idle:
                deadline = min(deadline, self._grace_until)
        for waiting in compiled:
            self._queue(waiting)
        for late in self._compiling.take_late():
            self._refuse(late, too_slow(self._compiling.seconds))
        ended, self._ended = self._ended, []
        return ended

    def before_submit(self, plan: StepPlan) -> StepPlan:
        """Masks for the structured rows. What comes back for requests that must end instead does not count."""
        if not len(self._masks):
            return plan
        ended: list[tuple[int, Mask]] = []
        shards = tuple(self._masks.mask_shard(shard, ended) for shard in plan.shards)
        for request_id, mask in ended:
            self._end(request_id, mask)
        return StepPlan(plan.step, shards)

    def after_commit(self, step: CommittedStep, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """New tokens are known: work out what may follow."""
        if len(self._masks):
            for output in outputs:
                if output.finish_reason is None and output.request_id in self._masks:
                    self._masks.advance(output.request_id, output.new_token_ids)
                    self._grace_until = self._clock() + GRACE
        return outputs

    def forget(self, request_ids: Collection[int]) -> None:
        for request_id in request_ids:
            self._masks.forget(request_id)
            self._compiling.forget(request_id)
        if self._ended:
            self._ended = [output for output in self._ended if output.request_id not in request_ids]

    def close(self) -> None:
        self.compiler.close()
        self._masks.close()

    def _go_on(self, request_id: int, mask: Future[Mask]) -> None:
        if self._masks.take(request_id, mask):
            known = mask_of(mask)
            if known.complete or known.error:
                self._end(request_id, known)
            else:
                self._scheduler.resume(request_id)

    def _queue(self, waiting: WaitingRequest) -> None:
        """Its grammar is ready, or has failed."""
        failure = waiting.grammar.exception()
        if failure is not None:
            self._refuse(waiting, _as_refusal(failure))
            return
        grammar, params = waiting.grammar.result(), waiting.request.params
        if not first_token_left(grammar.mask, waiting.request):
            self._refuse(waiting, RequestError(f"{no_token_left(params)}; let one of them allow more.", _param(params)))
            return
        try:
            self._scheduler.add(waiting.request, waiting.children)
        except QueueFullError:
            self._compiling.add_again(waiting)
        except RequestError as refused:
            self._refuse(waiting, refused)
        else:
            for sample in waiting.samples:
                self._masks.begin(sample, grammar)

    def _end(self, request_id: int, mask: Mask) -> None:
        self._masks.forget(request_id)
        request = self._scheduler.finish(request_id, "stop" if mask.complete else "error")
        if request is not None:
            refused = PARAM if mask.error else None  # the request has asked for what leads nowhere
            self._ended.append(finish(EngineOutput(request_id, error=mask.error, refused=refused), request))

    def _refuse(self, waiting: WaitingRequest, error: RequestError) -> None:
        for sample in waiting.samples:
            sample.finish_reason = "error"
            output = EngineOutput(sample.request_id, error=str(error), refused=error.param or PARAM)
            self._ended.append(finish(output, sample))


def _as_refusal(failure: BaseException) -> RequestError:
    """What a request is told whose grammar has failed to compile, in whatever way."""
    if isinstance(failure, RequestError):
        return failure
    log.error("a grammar could not be compiled", exc_info=failure)
    return RequestError("the grammar could not be compiled; make it simpler.", PARAM)


def _param(params: SamplingParams) -> str:
    """What the client calls the form of its answer."""
    return PARAM if params.structured_outputs is None else params.structured_outputs._param
