"""What goes along with an engine's steps: log probabilities, grammars, limits of thoughts, beams.

A follower may change a plan before it is submitted, and sees what came of it after it is committed. An engine asks its
followers in one order, both times.

Some decide on the host, after each token of a request, how that goes on. Such a request says so (`Request.waits`): no
token of it is planned beyond the one that is being sampled until its follower lets it go on, grammars by
Scheduler.resume() when the next mask is known, so do limits of thoughts, beams by Scheduler.choose_beams().
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from jaxpaged.engine.messages import EngineOutput
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.scheduling.commit import Committed
from jaxpaged.scheduling.plan import StepPlan


@dataclass(frozen=True, slots=True)
class CommittedStep:
    """A plan, what the device sampled for it (None where no row was sampled) and what the scheduler made of that.

    `sampled` holds numpy arrays [data shards, logit rows].
    """

    plan: StepPlan
    sampled: Sampled | None
    committed: Committed


class StepFollower(Protocol):
    """One of the things that follow the steps. Request ids are the engine's."""

    def before_submit(self, plan: StepPlan) -> StepPlan:
        """The plan to submit instead of this one."""
        ...

    def after_commit(self, step: CommittedStep, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """The outputs of a step as those after this follower get them: completed, held back or added to."""
        ...

    def forget(self, request_ids: Collection[int]) -> None:
        """These requests have ended or been aborted; unknown ids are ignored."""
        ...
