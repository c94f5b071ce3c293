"""An Engine without a model: every request gets the tokens that a script gives for it, a few per step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineInfo, EngineOutput, EngineRequest, EngineStats, TokenLogprobs
from jaxpaged.engine.sleep import check_level, check_tags
from jaxpaged.errors import QueueFullError, RequestError, WeightError
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.stats import KVStats, StepTokens

Script = Callable[[EngineRequest], Sequence[int]]


def echo(request: EngineRequest) -> list[int]:
    """The prompt's own tokens, over and over, as many as are asked for."""
    wanted = request.params.max_tokens or 16
    prompt = request.prompt_token_ids
    return [prompt[i % len(prompt)] for i in range(wanted)]


@dataclass(slots=True)
class _Row:
    request: EngineRequest
    tokens: list[int]
    sent: int = 0
    events: list[tuple[str, float]] = field(default_factory=list)


class FakeEngine:
    """The interface of jaxpaged.engine.engine.Engine, in host Python.

    `script` names the tokens of a request; generation ends at an end-of-sequence or stop token among them, or after
    max_tokens, as in the real engine. `tokens_per_step` may be a list that is cycled through. `refuse` maps request
    ids (a front end gives 1, 2, ...) to the error that add() raises, `fail` to the error that a request ends with at
    its first step. An id that runs already is refused. `crash_after` steps, step() raises RuntimeError.
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        vocab_size: int = 512,
        max_model_len: int = 256,
        tokens_per_step: int | Sequence[int] = 1,
        max_num_seqs: int = 64,
        max_queued: int = 1024,
        refuse: Mapping[int, str] | None = None,
        fail: Mapping[int, str] | None = None,
        crash_after: int | None = None,
        step_seconds: float = 0.0,
    ) -> None:
        self.info = EngineInfo(
            model="fake",
            max_model_len=max_model_len,
            vocab_size=vocab_size,
            num_pages=64,
            page_size=16,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_seqs,
            backend="fake",
            start_up_seconds=0.0,
            report="",
        )
        self.requests: list[EngineRequest] = []  # everything that was added, for tests to look at
        self.aborted: list[int] = []
        self.calls: list[tuple[Any, ...]] = []  # the other methods that were called, with their arguments
        self.steps = 0
        self._step_tokens = StepTokens()
        self.cached_tokens = 0  # what every request says that it took from the prefix cache
        self._script = script
        self._per_step = [tokens_per_step] if isinstance(tokens_per_step, int) else list(tokens_per_step)
        self._max_queued = max_queued
        self._refuse = dict(refuse or {})
        self._fail = dict(fail or {})
        self._crash_after = crash_after
        self._step_seconds = step_seconds
        self._rows: dict[int, _Row] = {}
        self._asleep, self._level = False, 0
        self._profile: str | None = None

    @classmethod
    def build(cls, config: EngineConfig, *, devices: Any = None, mesh: Any = None, progress: bool = True) -> Self:
        return cls(max_model_len=config.model.max_model_len or 256, max_num_seqs=config.scheduler.max_num_seqs or 256)

    def add(self, request: EngineRequest) -> None:
        self._check_awake()
        for sample in (request, *request.children):
            if sample.request_id in self._rows:
                raise RequestError(f"a request with id {sample.request_id} is running already.", "request_id")
            if sample.request_id in self._refuse:
                raise RequestError(self._refuse[sample.request_id])
        if len(self._rows) >= self.info.max_num_seqs + self._max_queued:
            raise QueueFullError("The queue is full; try again later.")
        for sample in (request, *request.children):
            self._add(replace(request, request_id=sample.request_id, params=sample.params, children=()))

    def _add(self, request: EngineRequest) -> None:
        self.requests.append(request)
        row = _Row(request, list(self._script(request)))
        row.events.append(("queued", time.monotonic()))
        self._rows[request.request_id] = row

    def abort(self, request_ids: Iterable[int]) -> None:
        for request_id in request_ids:
            self.aborted.append(request_id)
            self._rows.pop(request_id, None)

    def step(self) -> list[EngineOutput]:
        self.steps += 1
        if self._crash_after is not None and self.steps > self._crash_after:
            raise RuntimeError("the fake engine was told to crash")
        if self._step_seconds:
            time.sleep(self._step_seconds)
        count = self._per_step[self.steps % len(self._per_step)]
        running = list(self._rows.values())[: self.info.max_num_seqs]
        outputs = [self._advance(row, count) for row in running]
        self._step_tokens.note(sum(len(output.new_token_ids) for output in outputs))
        return outputs

    def has_work(self) -> bool:
        return bool(self._rows)

    def stats(self) -> EngineStats:
        running = min(len(self._rows), self.info.max_num_seqs)
        waiting = len(self._rows) - running
        stats = EngineStats(num_running=running, num_waiting=waiting, num_steps=self.steps, kv=self.kv_stats())
        stats.step_tokens, stats.total_tokens = tuple(self._step_tokens.counts), self._step_tokens.total
        stats.sleep_level = self._level if self._asleep else None
        return stats

    def kv_stats(self) -> KVStats:
        return KVStats(saving=0.5, waste=0.25, logical=12.0, physical=6.0)

    def reset_kv_stats(self) -> None:
        self.calls.append(("reset_kv_stats",))

    def pin_prefix(self, name: str, message: EngineRequest) -> int:
        self.calls.append(("pin_prefix", name, message.cache_salt, tuple(message.prompt_token_ids)))
        return len(message.prompt_token_ids)

    def unpin_prefix(self, name: str) -> None:
        self.calls.append(("unpin_prefix", name))

    def reset_prefix_cache(self) -> bool:
        self.calls.append(("reset_prefix_cache",))
        return not self._rows

    def update_weights(self, weights: Mapping[str, Any] | str | Path) -> None:
        """A directory must be there, as for the real engine; what it holds does not matter to a script."""
        if not isinstance(weights, Mapping):
            if not Path(weights).is_dir():
                raise WeightError(f"{weights} is no directory; give one with a checkpoint in safetensors files.")
            weights = {str(weights): None}
        self.calls.append(("update_weights", *weights))

    def sleep(self, level: int = 1) -> None:
        check_level(level)
        if self._rows:
            raise RequestError("the engine has unfinished requests; let them end or abort them before sleep().")
        self.calls.append(("sleep", level))
        self._asleep, self._level = True, level

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        self.calls.append(("wake_up", *(tags or ())))
        self._asleep = self._asleep and not {"weights", "kv_cache"} <= set(check_tags(tags))

    def is_sleeping(self) -> bool:
        return self._asleep

    def start_profile(self, directory: str | None = None) -> str:
        if self._profile is not None:
            raise RequestError("a profile is being taken already; call stop_profile() first.")
        self._profile = directory or "a new directory"
        return self._profile

    def stop_profile(self) -> str:
        if self._profile is None:
            raise RequestError("no profile is being taken; call start_profile() first.")
        directory, self._profile = self._profile, None
        return directory

    def _check_awake(self) -> None:
        if self._asleep:
            raise RequestError("the engine sleeps; call wake_up() first.")

    def _advance(self, row: _Row, count: int) -> EngineOutput:
        request, params = row.request, row.request.params
        output = EngineOutput(request.request_id)
        if request.request_id in self._fail:
            output.finish_reason, output.error = "error", self._fail[request.request_id]
        while output.finish_reason is None and len(output.new_token_ids) < count:
            self._emit(row, output)
        if row.events:
            output.events, row.events = row.events, []
        if params.num_logprobs is not None:
            output.logprobs = [_scored(token, params) for token in output.new_token_ids]
        if output.finish_reason is not None or row.sent == len(output.new_token_ids):  # the last, and the first
            output.num_cached_tokens = self.cached_tokens
        if output.finish_reason is not None:
            del self._rows[request.request_id]
        return output

    def _emit(self, row: _Row, output: EngineOutput) -> None:
        request, params = row.request, row.request.params
        if row.sent == 0:
            now = time.monotonic()
            row.events += [("scheduled", now), ("first_token", now)]
            if params.prompt_logprobs is not None:
                output.prompt_logprobs = [_logprobs(t, params.prompt_logprobs) for t in request.prompt_token_ids[1:]]
        token = row.tokens[row.sent]
        row.sent += 1
        output.new_token_ids.append(token)
        if row.sent >= params.min_tokens and token in (params.stop_token_ids or ()):
            output.finish_reason, output.stop_reason = "stop", token
        elif row.sent >= params.min_tokens and not params.ignore_eos and token in request.eos_token_ids:
            output.finish_reason = "stop"
        elif row.sent == len(row.tokens) or row.sent == params.max_tokens:
            output.finish_reason = "length"


def _scored(token: int, params: SamplingParams) -> TokenLogprobs:
    """With the ids that the request names, or else the best ones."""
    if not params.logprob_token_ids:
        return _logprobs(token, params.logprobs or 0)
    ids = params.logprob_token_ids
    return TokenLogprobs(token, -0.5, 1, list(ids), [-0.5 if other == token else -2.0 for other in ids])


def _logprobs(token: int, count: int) -> TokenLogprobs:
    """The token is the most likely one; its neighbours follow."""
    return TokenLogprobs(token, -0.5, 1, [token + i for i in range(count)], [-0.5 - i for i in range(count)])
