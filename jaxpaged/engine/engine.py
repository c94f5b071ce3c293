"""The engine: token ids in, token ids out. It plans a step ahead while the device computes the step before.

schedule -> before_submit -> submit -> (the device works; the next plan is made) -> wait -> commit -> after_commit
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxpaged.config import EngineConfig
from jaxpaged.engine.beams.searches import BeamSearches, beam_message
from jaxpaged.engine.build import build_engine
from jaxpaged.engine.collect import outputs_of, step_result
from jaxpaged.engine.followers import CommittedStep, StepFollower
from jaxpaged.engine.grammars.follower import Grammars
from jaxpaged.engine.logprobs import LogprobCollector
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats
from jaxpaged.engine.plan_runner import Pending, PlanRunner
from jaxpaged.engine.profiler import Profiler
from jaxpaged.engine.records import StepRecords, crash_file
from jaxpaged.engine.request_factory import samples_of
from jaxpaged.engine.sleep import check_level, check_tags
from jaxpaged.engine.thinking.follower import ThinkingLimits
from jaxpaged.errors import RequestError
from jaxpaged.models.registry import Registry
from jaxpaged.params.structured import PARAM
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.scheduling.stats import KVStats
from jaxpaged.weights.on_disk import checkpoint_arrays


@dataclass(slots=True)
class Engine:
    """Owns a scheduler and a runner. Not thread-safe: one thread adds, aborts and steps.

    `make_request` turns a message into a scheduler's Request (sampler variant, seed, content hashes); it raises
    RequestError for a request that this engine cannot serve. `grammars` is None without a tokenizer that they can use.
    """

    info: EngineInfo
    scheduler: Scheduler
    runner: PlanRunner
    make_request: Callable[[EngineRequest], Request]
    plans_in_flight: int = 2
    compiles: Callable[[], int] = int
    guard: Callable[[], AbstractContextManager[None]] = nullcontext
    grammars: Grammars | None = None
    records: StepRecords = field(default_factory=StepRecords)
    _in_flight: deque[tuple[StepPlan, Pending]] = field(default_factory=deque)
    _requests: dict[int, Request] = field(default_factory=dict)
    _late: list[EngineOutput] = field(default_factory=list)
    _beams: BeamSearches = field(init=False)
    _thinking: ThinkingLimits = field(init=False)
    _followers: tuple[StepFollower, ...] = field(init=False)
    _profiler: Profiler = field(default_factory=Profiler)
    _last_progress: float = field(default_factory=time.monotonic)
    _asleep: bool = False
    _level: int = 0

    def __post_init__(self) -> None:
        self._beams = BeamSearches(self.scheduler)
        self._thinking = ThinkingLimits(self.scheduler, self.info.vocab_size, self.plans_in_flight)
        grammars = () if self.grammars is None else (self.grammars,)
        # The order in which plans and outputs are handled: beams need log probabilities and keep outputs to themselves.
        self._followers = (LogprobCollector(self._requests), *grammars, self._thinking, self._beams)

    @classmethod
    def build(
        cls,
        config: EngineConfig,
        *,
        devices: Sequence[jax.Device] | None = None,
        mesh: Mesh | None = None,
        registry: Registry | None = None,
        progress: bool = True,
    ) -> Engine:
        """Load the model, compile every program, size the KV pool; then ready. Raises ConfigError.

        registry: the families that it knows; None: ours and those that were registered or are installed.
        """
        return build_engine(cls, config, devices=devices, mesh=mesh, registry=registry, progress=progress)

    def add(self, message: EngineRequest) -> None:
        """Queue a request with its child samples, all or none. Raises RequestError (QueueFullError: try later)."""
        self._check_awake()
        beam = message.beam is not None
        parent, *children = samples_of(
            beam_message(message, self.info.vocab_size) if beam else message, self.make_request
        )
        if not self.has_work():
            self._last_progress = time.monotonic()  # having been idle is no delay
        if beam:
            self._beams.add(message, [parent, *children])
        elif parent.params.structured_outputs is not None:
            self._add_structured(parent, children)
        else:
            self.scheduler.add(parent, children)
        for sample in (parent, *children):
            self._requests[sample.request_id] = sample
            self._thinking.begin(sample)

    def abort(self, request_ids: Iterable[int]) -> None:
        """Drop requests, wherever they are; unknown ids are ignored. No output follows."""
        gone = dict.fromkeys(one for request_id in request_ids for one in self._beams.group_of(request_id))
        for request_id in gone:
            if self._requests.pop(request_id, None) is not None:
                self.scheduler.abort(request_id)
        for follower in self._followers:
            follower.forget(gone)
        self._late = [output for output in self._late if output.request_id not in gone]

    def has_work(self) -> bool:
        return bool(self._in_flight or self._late or self.grammars) or self.scheduler.has_work()

    def step(self) -> list[EngineOutput]:
        """Submit the next plan if there is one, then collect the oldest when the pipeline is full or dry.

        Whatever it raises, the engine's state is unknown then; a note of the error says where its last steps are.
        """
        try:
            with self.guard():
                return self._step()
        except Exception as error:  # whatever it is, it passes on
            error.add_note(f"The engine's last steps, a JSON line each: {self.records.dump(crash_file())}")
            raise

    def _step(self) -> list[EngineOutput]:
        if self._late:
            outputs, self._late = self._late, []
            return outputs
        outputs = self._between_steps(idle=False)
        if self._in_flight and self.scheduler.only_waits():
            return outputs + self._collect()
        plan = self.scheduler.schedule()
        if plan is not None:
            self._submit(plan)
        if self._in_flight and (plan is None or len(self._in_flight) >= self.plans_in_flight):
            return outputs + self._collect()
        if plan is None and not outputs:
            return self._between_steps(idle=True)
        return outputs

    def stats(self) -> EngineStats:
        """Gauges and counters now; `last_step_age` is the time without progress while work waits."""
        now = self.scheduler.stats()
        return EngineStats(
            num_running=now.num_running,
            num_waiting=now.num_waiting + (self.grammars.num_compiling if self.grammars else 0),
            kv_cache_usage=now.kv_cache_usage,
            prefix_cache_queries=now.prefix_cache_queries,
            prefix_cache_hits=now.prefix_cache_hits,
            num_preemptions=now.num_preemptions,
            num_steps=now.num_steps,
            tokens_last_step=now.tokens_last_step,
            step_tokens=now.step_tokens,
            total_tokens=now.total_tokens,
            sleep_level=self._level if self._asleep else None,
            last_step_age=time.monotonic() - self._last_progress if self.has_work() else 0.0,
            compiles_after_ready=self.compiles(),
            kv=self.scheduler.kv_stats(),
        )

    def kv_stats(self) -> KVStats:
        """Sharing and waste of KV pages, averaged over steps since start or reset_kv_stats()."""
        return self.scheduler.kv_stats()

    def reset_kv_stats(self) -> None:
        """Begin the averages of kv_stats() anew."""
        self.scheduler.reset_kv_stats()

    def pin_prefix(self, name: str, message: EngineRequest) -> int:
        """Keep the full pages of a prompt that has just been computed; returns how many tokens they hold.

        Raises RequestError: see Scheduler.pin.
        """
        return self.scheduler.pin(name, self.make_request(message))

    def unpin_prefix(self, name: str) -> None:
        """Let a pinned prefix go; unknown names are ignored."""
        self.scheduler.unpin(name)

    def reset_prefix_cache(self) -> bool:
        """Forget every cached prefix; always True. What runs now began before, so it will not be cached either."""
        self.scheduler.reset_prefix_cache()
        return True

    def update_weights(self, weights: Mapping[str, Any] | str | Path) -> None:
        """Replace weights, after the plans in flight; cached prefixes are forgotten.

        `weights` is checkpoint name -> array, or a directory with a checkpoint in safetensors files. Raises ConfigError
        for what does not fit (the model stays as it was). A sleeping engine takes device memory for its weights, as
        wake_up(["weights"]) does, and sleeps on.
        """
        tensors = weights if isinstance(weights, Mapping) else checkpoint_arrays(Path(weights))
        self._late += self.drain()
        self.runner.update_weights(tensors)
        self.scheduler.reset_prefix_cache()
        self._last_progress = time.monotonic()  # reading them is no delay

    def sleep(self, level: int = 1) -> None:
        """Take no requests until wake_up(), and give device memory back.

        Level 0 keeps everything in its place, level 1 keeps the weights on the host, level 2 drops them.
        Raises RequestError while requests are unfinished.
        """
        check_level(level)
        self._late += self.drain()  # a plan may be in flight for requests that have ended
        if self._requests:
            raise RequestError("the engine has unfinished requests; let them end or abort them before sleep().")
        if level > 0:
            self.scheduler.reset_prefix_cache()
            self.runner.sleep(level)
        self._asleep, self._level = True, level

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Take the device memory again. After level 2 the weights are zero until update_weights().

        `tags` says what comes back, "weights" or "kv_cache"; the engine is awake when both are there.
        Raises RequestError for other tags.
        """
        wanted = check_tags(tags)
        if "weights" in wanted:
            self.runner.wake_weights()
        if "kv_cache" in wanted:
            self.runner.wake_pool()
        self._asleep = self._asleep and not self.runner.is_complete()

    def is_sleeping(self) -> bool:
        """Whether sleep() has been called, and wake_up() not yet."""
        return self._asleep

    def start_profile(self, directory: str | None = None) -> str:
        """Begin a trace of host and devices; returns its directory, a new one where none is given."""
        return self._profiler.start(directory)

    def stop_profile(self) -> str:
        """End and write the trace; returns its directory. Raises RequestError when none was begun."""
        return self._profiler.stop()

    def drain(self) -> list[EngineOutput]:
        """Collect every plan in flight without submitting more."""
        outputs: list[EngineOutput] = []
        while self._in_flight:
            outputs += self._collect()
        return outputs

    def _check_awake(self) -> None:
        if self._asleep:
            raise RequestError("the engine sleeps; call wake_up() first.")

    def _add_structured(self, parent: Request, children: Sequence[Request]) -> None:
        if self.grammars is None:
            raise RequestError(f"{PARAM} need a tokenizer that grammars can use, and this engine has none.", PARAM)
        for request in (parent, *children):  # the scheduler would find out too late, when the grammar is compiled
            if request.request_id in self._requests:
                raise RequestError(f"a request with id {request.request_id} is running already.", "request_id")
        self.grammars.add(parent, children)

    def _between_steps(self, *, idle: bool) -> list[EngineOutput]:
        return self._forget_ended(self.grammars.between_steps(idle=idle)) if self.grammars else []

    def _submit(self, plan: StepPlan) -> None:
        for follower in self._followers:
            plan = follower.before_submit(plan)
        self.records.add(plan, time.monotonic())
        self._in_flight.append((plan, self.runner.submit(plan)))

    def _collect(self) -> list[EngineOutput]:
        plan, pending = self._in_flight.popleft()
        sampled = pending.wait()
        committed = self.scheduler.commit(plan, step_result(plan, sampled))
        self._last_progress = time.monotonic()
        step, outputs = CommittedStep(plan, sampled, committed), outputs_of(committed)
        for follower in self._followers:
            outputs = follower.after_commit(step, outputs)
        return self._forget_ended(outputs)

    def _forget_ended(self, outputs: list[EngineOutput]) -> list[EngineOutput]:
        ended = [output.request_id for output in outputs if output.finish_reason is not None]
        if ended:
            for request_id in ended:
                self._requests.pop(request_id, None)
            for follower in self._followers:
                follower.forget(ended)
        return outputs
