"""Beam search on the scheduler with recorded parents: beams fork and drop pages as they would in an engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.scheduling.stats import KVStats
from paper.parents import load_parents
from paper.replay import LIVE, drive, make_scheduler, request
from paper.workload import Workload


class BeamGroup:
    """The beams of one prompt; each is a request of its own. `parents` [steps, width] say what each step continues."""

    def __init__(self, scheduler: Scheduler, prompt: int, answer: int, parents: NDArray[np.uint8]) -> None:
        self._scheduler, self._parents, self._prompt = scheduler, parents, prompt
        self._answer = answer
        self.generated = 0
        self.beams = [request([1] * prompt, answer)]
        scheduler.add(self.beams[0])

    @property
    def done(self) -> bool:
        return self.beams[0].finish_reason is not None

    def reorder(self) -> None:
        """When the beams have a token more, give each the pages of the beam that it continues."""
        first = self.beams[0]
        if not first.row or first.finish_reason:
            return
        rows = self._scheduler.shards[0].rows
        lengths = {int(rows.num_tokens[beam.row]) for beam in self.beams}
        if lengths == {self._prompt + self.generated}:
            return
        if lengths != {self._prompt + self.generated + 1}:
            raise RuntimeError("beams of one prompt have come apart: the pool or the step is too small for them")
        self._continue(self._next_parents())
        self.generated += 1

    def _next_parents(self) -> list[int]:
        """Those of a long answer begin anew, after the first step, where all beams continue the prompt."""
        step, recorded = self.generated, len(self._parents)
        parents: list[int] = self._parents[step if step < recorded else 1 + (step - 1) % (recorded - 1)].tolist()
        return parents

    def _continue(self, parents: list[int]) -> None:
        for index, beam in enumerate(self.beams):
            if index not in parents:
                self._scheduler.abort(beam.request_id)
        old, taken = self.beams, set()
        self.beams = []
        for parent in parents:
            beam = old[parent]
            if parent in taken:
                beam = request(beam.prompt_token_ids, self._answer)
                self._scheduler.fork(old[parent].request_id, beam)
            taken.add(parent)
            self.beams.append(beam)


def replay_beams(workload: Workload, width: int, count: int, parents: NDArray[np.uint8] | None = None) -> KVStats:
    """`count` requests with beams of this width; `parents` [recordings, steps, width] replace the recorded ones."""
    prompts, answers = workload.lengths(count)
    recorded = load_parents(width) if parents is None else parents
    scheduler = make_scheduler()
    groups: list[BeamGroup] = []

    def add(index: int) -> None:
        own = recorded[index % len(recorded)]
        groups.append(BeamGroup(scheduler, int(prompts[index]), int(answers[index]), own))

    def after_step() -> None:
        groups[:] = [group for group in groups if not group.done]
        for group in groups:
            group.reorder()

    return drive(scheduler, workload.arrivals(count, LIVE, width), add, after_step)
