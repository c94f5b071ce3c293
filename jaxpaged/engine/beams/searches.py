"""The beam searches that an engine has in flight: what its steps bring to their beams, and the answers in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from jaxpaged.engine.beams.search import Beam, BeamSearch, Candidates, Ended, check_width, num_candidates
from jaxpaged.engine.followers import CommittedStep
from jaxpaged.engine.messages import EngineOutput, EngineRequest, TokenLogprobs
from jaxpaged.errors import RequestError
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.plan import StepPlan
from jaxpaged.scheduling.request import BeamGroup, Request
from jaxpaged.scheduling.scheduler import Scheduler


@dataclass(slots=True, eq=False)
class _Running:
    """A search and the requests that are its beams, `members` in the order in which they will be its answers.

    latest: the position that each has answered since the last choice, by request id.
    """

    search: BeamSearch
    group: BeamGroup
    members: list[Request]
    num_logprobs: int | None
    latest: dict[int, TokenLogprobs] = field(default_factory=dict)


class BeamSearches:
    """Owner of the searches, a StepFollower. Outputs of beams stay; those of whole answers go on in their place."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._of: dict[int, _Running] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, message: EngineRequest, members: list[Request]) -> None:
        """Queue a search; `members` are requests for the prompt with beam_params(). Raises RequestError."""
        beam, stop_ids = message.beam, stop_tokens(message)
        assert beam is not None
        if len(members) != beam.beam_width:
            raise RequestError(f"beam_width is {beam.beam_width}, for {len(members)} requests.", "beam_width")
        group = self._scheduler.add_beams(members)
        search = BeamSearch(beam.beam_width, beam.length_penalty, stop_ids, group.most_tokens)
        running = _Running(search, group, members, message.params.num_logprobs)
        self._of |= {member.request_id: running for member in members}

    def group_of(self, request_id: int) -> list[int]:
        """The ids that end together with this one."""
        running = self._of.get(request_id)
        return [request_id] if running is None else [member.request_id for member in running.members]

    def before_submit(self, plan: StepPlan) -> StepPlan:
        return plan

    def forget(self, request_ids: Collection[int]) -> None:
        for request_id in request_ids:
            self._of.pop(request_id, None)

    def after_commit(self, step: CommittedStep, outputs: list[EngineOutput]) -> list[EngineOutput]:
        """Outputs of other requests as they are, and the answers of the searches that are over with this step."""
        return self._take(outputs) if self._of else outputs

    def _take(self, outputs: Iterable[EngineOutput]) -> list[EngineOutput]:
        passed: list[EngineOutput] = []
        touched: dict[int, _Running] = {}
        failed: dict[int, str] = {}
        for output in outputs:
            running = self._of.get(output.request_id)
            if running is None:
                passed.append(output)
                continue
            touched[id(running)] = running
            if output.error is not None:
                failed[id(running)] = output.error
            else:
                assert output.logprobs
                running.latest[output.request_id] = output.logprobs[0]
        for key, running in touched.items():
            if key in failed:
                passed += self._end(running, [_failure(member, failed[key]) for member in running.members])
            else:
                passed += self._go_on(running)
        return passed

    def _go_on(self, running: _Running) -> list[EngineOutput]:
        """The next choice, when every beam has answered; the answers, when it was the last."""
        group = running.group
        if not self._scheduler.beams_sampled(group):
            return []
        search, latest = running.search, running.latest
        live = [latest[member.request_id] for member in group.members[: len(search.beams)]]
        choices = search.step([_candidates(position, search.num_candidates) for position in live])
        latest.clear()
        if choices:
            self._scheduler.choose_beams(group, choices)
            return []
        return self._end(running, _answers(running))

    def _end(self, running: _Running, answers: list[EngineOutput]) -> list[EngineOutput]:
        for member in running.members:
            del self._of[member.request_id]
        self._scheduler.end_beams(running.group, "stop")
        return answers


def beam_message(message: EngineRequest, vocab_size: int) -> EngineRequest:
    """The requests that are the beams of a search. Raises RequestError when a vocabulary is too small for them."""
    assert message.beam is not None
    check_width(message.beam.beam_width, len(stop_tokens(message)), vocab_size)
    params = beam_params(message)
    children = tuple(replace(child, params=params) for child in message.children)
    return replace(message, params=params, children=children)


def beam_params(message: EngineRequest) -> SamplingParams:
    """What each beam asks of the engine: its best next tokens. Only the search ends it, or its length."""
    assert message.beam is not None
    wanted = num_candidates(message.beam.beam_width, len(stop_tokens(message)))
    temperature = message.beam.temperature  # matters where logprobs_mode is processed_logprobs, as in vLLM
    return SamplingParams(
        temperature=temperature, max_tokens=message.params.max_tokens, ignore_eos=True, logprobs=wanted
    )


def stop_tokens(message: EngineRequest) -> frozenset[int]:
    """The tokens that end an answer of a beam search."""
    return frozenset() if message.params.ignore_eos else frozenset(message.eos_token_ids)


def _candidates(position: TokenLogprobs, wanted: int) -> Candidates:
    return Candidates(position.top_ids[:wanted], position.top_logprobs[:wanted], position)


def _answers(running: _Running) -> list[EngineOutput]:
    """One for each member, the best answer first."""
    parent = running.members[0]
    answers = [
        _answer(member, ended, running.num_logprobs)
        for member, ended in zip(running.members, running.search.ended, strict=True)
    ]
    for answer in answers:
        answer.num_cached_tokens = parent.num_cached_tokens
    answers[0].events = parent.events
    return answers


def _answer(member: Request, ended: Ended, num_logprobs: int | None) -> EngineOutput:
    path = ended.beam.path()
    return EngineOutput(
        member.request_id,
        [beam.token_id for beam in path],
        logprobs=None if num_logprobs is None else [_position(beam, num_logprobs) for beam in path],
        finish_reason="stop" if ended.by_stop_token else "length",
    )


def _position(beam: Beam, wanted: int) -> TokenLogprobs:
    """What is known of the position of a beam's last token, whose rank is its place among the candidates."""
    position = beam.position
    assert position is not None
    place = position.top_ids.index(beam.token_id)
    return replace(
        position,
        token_id=beam.token_id,
        logprob=position.top_logprobs[place],
        rank=place + 1,
        top_ids=position.top_ids[:wanted],
        top_logprobs=position.top_logprobs[:wanted],
    )


def _failure(member: Request, error: str) -> EngineOutput:
    return EngineOutput(member.request_id, finish_reason="error", error=error)
