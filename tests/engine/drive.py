"""Running an engine by hand, with an audit of its scheduler after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxpaged.config import SchedulerLimits
from jaxpaged.engine.engine import Engine
from jaxpaged.engine.messages import EngineOutput, EngineRequest, TokenLogprobs
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.scheduler import Scheduler
from tests.names import name_of, number


@dataclass
class Answer:
    """All that came back for one request."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    last: EngineOutput | None = None

    @property
    def reason(self) -> str | None:
        return self.last.finish_reason if self.last else None

    @property
    def content(self) -> tuple[Any, ...]:
        """What must not depend on anything but the request."""
        return self.tokens, self.logprobs, self.prompt_logprobs, self.reason

    def take(self, output: EngineOutput) -> None:
        assert self.last is None, "output after the last"
        self.tokens += output.new_token_ids
        self.logprobs += output.logprobs or []
        self.prompt_logprobs += output.prompt_logprobs or []
        if output.finish_reason is not None:
            self.last = output


Answers = dict[str, Answer]  # by the names of the requests


def ask(name: str, prompt: Sequence[int], *, embeds: bytes | None = None, **params: Any) -> EngineRequest:
    """A greedy request that runs to max_tokens, unless `params` say otherwise."""
    defaults = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 8}
    sampling = SamplingParams(**{**defaults, **params})
    return EngineRequest(number(name), list(prompt), sampling, arrival=0.0, prompt_embeds=embeds)


def run(engine: Engine, messages: Iterable[EngineRequest], each_step: Callable[[int], None] | None = None) -> Answers:
    """Add all, then step until nothing is left; every page must be free or cached then."""
    messages = list(messages)
    for message in messages:
        engine.add(message)
    answers = {name_of(message.request_id): Answer() for message in messages}
    collect(engine, answers, each_step)
    assert_idle(engine)
    return answers


def collect(
    engine: Engine, answers: Answers, each_step: Callable[[int], None] | None = None, limit: int = 5000
) -> None:
    """Step until no work is left, giving each output to its answer."""
    for step in range(limit):
        if not engine.has_work():
            return
        if each_step is not None:
            each_step(step)
        for output in engine.step():
            answers[name_of(output.request_id)].take(output)
        engine.scheduler.check()
    raise AssertionError("requests starve")


def assert_idle(engine: Engine) -> None:
    """Nothing runs and nothing is held."""
    assert not engine.has_work()
    for shard in engine.scheduler.shards:
        assert shard.num_running == 0
        assert all(pages.available == pages.num_pages - 1 for pages in shard.allocators)


def rescheduled(
    engine: Engine, *, pages: int | None = None, depth: int = 2, caching: bool = True, **limits: Any
) -> Engine:
    """Another engine over the runner of an idle one: a scheduler of its own, the same programs and device state.

    `limits`: SchedulerLimits's, within those that the programs were compiled for.
    """
    runner, info = engine.runner, engine.info
    geometry = runner.pool.geometry
    all_pages = tuple(runner.pool.num_pages(group) for group in range(len(geometry.groups)))
    config = replace(SchedulerLimits(info.max_num_seqs, info.max_num_batched_tokens), **limits)
    scheduler = Scheduler(
        config,
        geometry.groups,
        all_pages if pages is None else (pages,) * len(all_pages),
        geometry.page_size,
        info.max_model_len,
        geometry.mesh.shape["data"],
        enable_prefix_caching=caching,
    )
    return Engine(info, scheduler, runner, engine.make_request, depth, engine.compiles)


def preemptions(engine: Engine) -> int:
    return engine.stats().num_preemptions
