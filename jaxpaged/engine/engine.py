"""The engine: token ids in, token ids out. It plans a step ahead while the device computes the step before.

schedule -> submit -> (the device works; the next plan is made) -> wait -> commit -> outputs
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from jaxpaged.config import EngineConfig
from jaxpaged.engine.beams.search import check_width
from jaxpaged.engine.beams.searches import BeamSearches, beam_params, stop_tokens
from jaxpaged.engine.build import build_engine
from jaxpaged.engine.collect import LogprobCollector, step_result
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats, Sibling
from jaxpaged.engine.records import StepRecords
from jaxpaged.engine.structured_outputs import StructuredOutputs
from jaxpaged.engine.structured_requests import StructuredRequests
from jaxpaged.errors import RequestError
from jaxpaged.models.registry import REGISTRY, Registry
from jaxpaged.scheduling.commit import Committed
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.scheduling.stats import KVStats


class Pending(Protocol):
    """A dispatched plan; `wait` blocks until its sampled tokens are on the host (None if no row was sampled)."""

    def wait(self) -> Any: ...


class PlanRunner(Protocol):
    """Executes plans in the order in which they are submitted."""

    def submit(self, plan: StepPlan) -> Pending: ...

    def update_weights(self, weights: Mapping[str, Any]) -> None: ...

    def sleep(self, level: int) -> None: ...

    def wake_up(self) -> None: ...


@dataclass(slots=True)
class Engine:
    """Owns a scheduler and a runner. Not thread-safe: one thread adds, aborts and steps.

    `make_request` turns a message into a scheduler's Request (sampler variant, seed, content hashes); it raises
    RequestError for a request that this engine cannot serve.
    """

    info: EngineInfo
    scheduler: Scheduler
    runner: PlanRunner
    make_request: Callable[[EngineRequest], Request]
    plans_in_flight: int = 2
    compiles: Callable[[], int] = int
    records: StepRecords = field(default_factory=StepRecords)
    masks: StructuredRequests | None = None
    _in_flight: deque[tuple[StepPlan, Pending]] = field(default_factory=deque)
    _requests: dict[int, Request] = field(default_factory=dict)
    _late: list[EngineOutput] = field(default_factory=list)
    _beams: BeamSearches = field(init=False)
    _structured: StructuredOutputs = field(init=False)
    _logprobs: LogprobCollector = field(default_factory=LogprobCollector)
    _last_progress: float = field(default_factory=time.monotonic)
    _asleep: bool = False

    def __post_init__(self) -> None:
        self._beams = BeamSearches(self.scheduler)
        self._structured = StructuredOutputs(self.scheduler, self.masks)

    @classmethod
    def build(
        cls,
        config: EngineConfig,
        *,
        devices: Sequence[jax.Device] | None = None,
        mesh: Mesh | None = None,
        registry: Registry = REGISTRY,
        progress: bool = True,
    ) -> Engine:
        """Load the model, compile every program, size the KV pool; then ready. Raises ConfigError."""
        return build_engine(cls, config, devices=devices, mesh=mesh, registry=registry, progress=progress)

    def add(self, message: EngineRequest) -> None:
        """Queue a request with its siblings, all or none. Raises RequestError (QueueFullError: try later)."""
        if self._asleep:
            raise RequestError("the engine sleeps; call wake_up() first.")
        made = message
        if message.beam is not None:
            check_width(message.beam.beam_width, len(stop_tokens(message)), self.info.vocab_size)
            made = _beam_message(message)
        request = self.make_request(made)
        siblings = [self._sample(made, sibling) for sibling in made.siblings]
        if not self.has_work():
            self._last_progress = time.monotonic()  # having been idle is no delay
        if message.beam is not None:
            self._beams.add(message, [request, *siblings])
        elif request.params.structured_outputs is not None:
            self._check_new([request, *siblings])
            self._structured.add(request, siblings)
        else:
            self.scheduler.add(request, siblings)
        for sample in (request, *siblings):
            self._requests[sample.request_id] = sample

    def abort(self, request_ids: Iterable[int]) -> None:
        """Drop requests, wherever they are; unknown ids are ignored. No output follows."""
        gone = dict.fromkeys(one for request_id in request_ids for one in self._beams.group_of(request_id))
        for request_id in gone:
            if self._requests.pop(request_id, None) is not None:
                self._logprobs.forget(request_id)
                self.scheduler.abort(request_id)
        self._structured.forget(gone)
        self._late = [output for output in self._late if output.request_id not in gone]

    def has_work(self) -> bool:
        return bool(self._in_flight or self._late or self._structured) or self.scheduler.has_work()

    def step(self) -> list[EngineOutput]:
        """Submit the next plan if there is one, then collect the oldest when the pipeline is full or dry.

        Whatever it raises, the engine's state is unknown then; a note of the error says where its last steps are.
        """
        try:
            return self._step()
        except Exception as error:
            error.add_note(f"The engine's last steps, a JSON line each: {self.records.dump(_crash_file())}")
            raise

    def _step(self) -> list[EngineOutput]:
        if self._late:
            outputs, self._late = self._late, []
            return outputs
        outputs = self._structured_news(idle=False) if self._structured else []
        if self._in_flight and self.scheduler.only_waits():
            return outputs + self._collect()
        plan = self.scheduler.schedule()
        if plan is not None:
            self._submit(plan)
        if self._in_flight and (plan is None or len(self._in_flight) >= self.plans_in_flight):
            return outputs + self._collect()
        if plan is None and self._structured and not outputs:
            return self._structured_news(idle=True)
        return outputs

    def stats(self) -> EngineStats:
        """Gauges and counters now; `last_step_age` is the time without progress while work waits."""
        now = self.scheduler.stats()
        return EngineStats(
            num_running=now.num_running,
            num_waiting=now.num_waiting + self._structured.num_compiling,
            kv_cache_usage=now.kv_cache_usage,
            prefix_cache_queries=now.prefix_cache_queries,
            prefix_cache_hits=now.prefix_cache_hits,
            num_preemptions=now.num_preemptions,
            num_steps=now.num_steps,
            tokens_last_step=now.tokens_last_step,
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
        """Forget every cached prefix."""
        self.scheduler.reset_prefix_cache()
        return True

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace weights by checkpoint name -> array, after the plans in flight; cached prefixes are forgotten."""
        self._late += self.drain()
        self.runner.update_weights(weights)
        self.scheduler.reset_prefix_cache()

    def sleep(self, level: int = 1) -> None:
        """Give device memory back: level 1 keeps the weights on the host, level 2 drops them.

        Raises RequestError while requests are unfinished.
        """
        if self.has_work():
            raise RequestError("the engine has unfinished requests; let them end or abort them before sleep().")
        self.scheduler.reset_prefix_cache()
        self.runner.sleep(level)
        self._asleep = True

    def wake_up(self) -> None:
        """Take the device memory again. After level 2 the weights are zero until update_weights()."""
        self.runner.wake_up()
        self._asleep = False

    def drain(self) -> list[EngineOutput]:
        """Collect every plan in flight without submitting more."""
        outputs: list[EngineOutput] = []
        while self._in_flight:
            outputs += self._collect()
        return outputs

    def _sample(self, message: EngineRequest, sibling: Sibling) -> Request:
        """Its prompt, and what identifies that, come from the leader's Request."""
        own = replace(message, request_id=sibling.request_id, params=sibling.params, prompt_embeds=None, siblings=())
        return self.make_request(own)

    def _check_new(self, requests: Iterable[Request]) -> None:
        """The scheduler would find out too late for a request whose grammar is compiled first."""
        for request in requests:
            if request.request_id in self._requests:
                raise RequestError(f"a request with id {request.request_id} is running already.", "request_id")

    def _structured_news(self, *, idle: bool) -> list[EngineOutput]:
        return [self._finish(output, request) for request, output in self._structured.news(idle=idle)]

    def _submit(self, plan: StepPlan) -> None:
        if self._structured:
            plan, ended = self._structured.masked(plan)
            self._late += [self._finish(output, request) for request, output in ended]
        self.records.add(plan, time.monotonic())
        self._in_flight.append((plan, self.runner.submit(plan)))

    def _collect(self) -> list[EngineOutput]:
        plan, pending = self._in_flight.popleft()
        sampled = pending.wait()
        committed = self.scheduler.commit(plan, step_result(plan, sampled))
        self._last_progress = time.monotonic()
        self._logprobs.collect(plan, committed, sampled, self._requests)
        return self._outputs(committed)

    def _outputs(self, committed: Committed) -> list[EngineOutput]:
        outputs: list[EngineOutput] = []
        for shard in committed.shards:
            start = len(outputs)
            if shard.tokens.shape[1] == 1 and shard.num_tokens.all():
                token_lists = shard.tokens.tolist()
            else:
                token_lists = [row[:n] for row, n in zip(shard.tokens.tolist(), shard.num_tokens.tolist(), strict=True)]
            for request_id, tokens in zip(shard.request_ids, token_lists, strict=True):
                outputs.append(EngineOutput(request_id, tokens))
            for position, request in zip(shard.ended.tolist(), shard.finished, strict=True):
                self._finish(outputs[start + position], request)
        for output in outputs:
            self._logprobs.attach(output)
        if self._structured:
            self._structured.advance(outputs)
        return self._after_beams(outputs) if self._beams else outputs

    def _after_beams(self, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """Let beam searches take what is theirs; what they answer ends requests that the scheduler has forgotten."""
        outputs = self._beams.take(outputs)
        for output in outputs:
            if output.finish_reason is not None:
                self._requests.pop(output.request_id, None)
        return outputs

    def _finish(self, output: EngineOutput, request: Request) -> EngineOutput:
        output.finish_reason, output.stop_reason = request.finish_reason, request.stop_reason
        output.num_cached_tokens, output.events = request.num_cached_tokens, request.events
        if request.finish_reason == "error" and output.error is None:
            output.error = "the model produced values that are not finite for this request"
            if request.params.structured_outputs is not None:
                output.error = "its grammar and its other parameters together allow no token"
        self._requests.pop(request.request_id, None)
        self._structured.forget([request.request_id])
        return output


def _beam_message(message: EngineRequest) -> EngineRequest:
    """The requests that are the beams of a search."""
    params = beam_params(message)
    siblings = tuple(replace(sibling, params=params) for sibling in message.siblings)
    return replace(message, params=params, siblings=siblings)


def _crash_file() -> Path:
    """A new file that only this user can read."""
    handle, name = tempfile.mkstemp(prefix="jaxpaged-steps-", suffix=".jsonl")
    os.close(handle)
    return Path(name)
