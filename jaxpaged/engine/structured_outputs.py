"""Structured requests between the engine and the scheduler: queued when their grammar is compiled, resumed when the
mask for their next token is known, ended when nothing may follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jaxpaged.engine.messages import EngineOutput
from jaxpaged.engine.structured_requests import Family, StructuredRequests
from jaxpaged.errors import QueueFullError, RequestError
from jaxpaged.params.structured import PARAM
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.structured.constraint import Mask

Ended = tuple[Request, EngineOutput]


class StructuredOutputs:
    """False while no request is structured. `masks` is None in an engine without a tokenizer that grammars can use."""

    def __init__(self, scheduler: Scheduler, masks: StructuredRequests | None) -> None:
        self._scheduler = scheduler
        self._masks = masks

    def __bool__(self) -> bool:
        return self._masks is not None and len(self._masks) > 0

    @property
    def num_compiling(self) -> int:
        """Requests that wait for their grammar."""
        return self._masks.num_compiling if self._masks is not None else 0

    def add(self, request: Request, siblings: Sequence[Request]) -> None:
        """Compile a request's grammar, then queue it. Raises RequestError (QueueFullError: try later)."""
        if self._masks is None:
            raise RequestError(f"{PARAM} need a tokenizer that grammars can use, and this engine has none.", PARAM)
        self._scheduler.queue.check_room(self.num_compiling)
        self._masks.add(request, siblings)

    def news(self, *, idle: bool) -> list[Ended]:
        """What has been compiled and worked out takes effect. Waits a moment, longer if the engine is `idle`.

        Returns the requests that end by it, with their last outputs.
        """
        if self._masks is None:
            return []
        news, ended = self._masks.take_news(idle=idle), []
        for family in news.compiled:
            ended += self._queue(family)
        for family, error in news.refused:
            ended += _refused(family, error)
        for request_id in news.resumed:
            self._scheduler.resume(request_id)
        return ended + [self._end(*one) for one in news.ended]

    def masked(self, plan: StepPlan) -> tuple[StepPlan, list[Ended]]:
        """The plan with masks for its structured rows, and the requests in it that must end instead."""
        if self._masks is None:
            return plan, []
        plan, ended = self._masks.mask_plan(plan)
        return plan, [self._end(*one) for one in ended]

    def advance(self, outputs: Iterable[EngineOutput]) -> None:
        """New tokens are known."""
        if self._masks is not None:
            for output in outputs:
                if output.finish_reason is None:
                    self._masks.advance(output.request_id, output.new_token_ids)

    def forget(self, request_ids: Iterable[int]) -> None:
        """These requests have ended."""
        if self._masks is not None:
            self._masks.forget(request_ids)

    def _queue(self, family: Family) -> list[Ended]:
        assert self._masks is not None
        try:
            self._scheduler.add(family.request, family.siblings)
        except QueueFullError:
            self._masks.try_again(family)
        except RequestError as error:
            return _refused(family, error)
        return []

    def _end(self, request_id: int, mask: Mask) -> Ended:
        request = self._scheduler.requests[request_id]
        self._scheduler.finish(request_id, "stop" if mask.complete else "error")
        return request, EngineOutput(request_id, error=mask.error)


def _refused(family: Family, error: RequestError) -> list[Ended]:
    ended = []
    for request in (family.request, *family.siblings):
        request.finish_reason = "error"
        ended.append((request, EngineOutput(request.request_id, error=str(error), refused=error.param or PARAM)))
    return ended
