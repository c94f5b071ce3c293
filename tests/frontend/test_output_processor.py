"""Tokens of sequences become texts of requests: merged, cut at stop strings, in the kind that was asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from jaxpaged.config import EngineConfig
from jaxpaged.engine.messages import EngineOutput
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.input_processor import InputProcessor, PreparedRequest
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.frontend.output_processor import OutputProcessor
from jaxpaged.outputs import RequestOutput
from jaxpaged.sampling_params import RequestOutputKind, SamplingParams
from jaxpaged.text.vocabulary import Vocabulary
from tests.fake_engine import FakeEngine
from tests.text.samples import byte_level_backend, hf_tokenizer

KINDS = [RequestOutputKind.CUMULATIVE, RequestOutputKind.DELTA, RequestOutputKind.FINAL_ONLY]
HELLO = "hello world, stop here! 你好🙂"


def ids(text: str) -> list[int]:
    return byte_level_backend().encode(text, add_special_tokens=False).ids


def input_processor() -> InputProcessor:
    return InputProcessor(EngineConfig(), FakeEngine().info, FrontEnd(hf_tokenizer(), None, GenerationConfig()))


def prepare(params: SamplingParams) -> PreparedRequest:
    """The first request of a front end: "r", and 1, 2, ... for the engine."""
    return input_processor().process("r", "a prompt", params)


def outputs(
    params: SamplingParams, text: str = HELLO, per_step: int = 2, **engine
) -> tuple[list[RequestOutput], FakeEngine]:
    """Everything that a request brings, and the engine that ran it."""
    prepared = prepare(params)
    fake = FakeEngine(lambda request: ids(text), tokens_per_step=per_step, **engine)
    processor = OutputProcessor(Vocabulary(byte_level_backend()))
    processor.add(prepared)
    fake.add(prepared.message)
    made: list[RequestOutput] = []
    while fake.has_work():
        processed = processor.process(fake.step())
        fake.abort(processed.abort)
        made += processed.outputs
    assert processor.in_flight() == []
    return made, fake


def whole(made: list[RequestOutput], kind: RequestOutputKind) -> RequestOutput:
    if kind is not RequestOutputKind.DELTA:
        return made[-1]
    merged = made[0]
    for output in made[1:]:
        merged.add(output, aggregate=True)
    return merged


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3])
def test_every_kind_ends_with_the_same_text(kind, n) -> None:
    params = SamplingParams(n=n, output_kind=kind, max_tokens=100, logprobs=2, prompt_logprobs=0)
    made, _ = outputs(params)
    assert [output.finished for output in made] == [False] * (len(made) - 1) + [True]
    final = whole(made, kind)
    assert [completion.index for completion in final.outputs] == list(range(n))
    assert final.prompt == "a prompt"
    assert final.prompt_logprobs is not None
    assert len(final.prompt_logprobs) == len(ids("a prompt"))
    for completion in final.outputs:
        assert completion.text == HELLO
        assert completion.token_ids == ids(HELLO)
        assert completion.finish_reason == "length"
        assert completion.logprobs is not None
        assert [next(iter(position)) for position in completion.logprobs] == ids(HELLO)
        assert "".join(next(iter(position.values())).decoded_token or "" for position in completion.logprobs) == HELLO
        assert completion.cumulative_logprob == pytest.approx(-0.5 * len(ids(HELLO)))


@pytest.mark.parametrize("kind", [RequestOutputKind.CUMULATIVE, RequestOutputKind.DELTA])
@pytest.mark.parametrize(("interval", "per_step"), [(1, 1), (4, 1), (4, 3), (100, 1)])
def test_an_interval_holds_tokens_back_but_the_first_and_the_last(kind, interval, per_step) -> None:
    params = SamplingParams(n=2, max_tokens=100, output_kind=kind, stream_interval=interval)
    made, _ = outputs(params, per_step=per_step)
    lengths = [len(output.outputs[0].token_ids) for output in made]
    assert [completion.text for completion in whole(made, kind).outputs] == [HELLO] * 2
    steps = range(per_step, len(ids(HELLO)) + per_step, per_step)
    shown, expected = 0, []
    for done in (min(step, len(ids(HELLO))) for step in steps):
        if not shown or done - shown >= interval or done == len(ids(HELLO)):
            expected.append(done)
            shown = done
    grown = [b - a for a, b in pairwise([0, *expected])]
    assert lengths == (grown if kind is RequestOutputKind.DELTA else expected)


def test_cumulative_grows_delta_adds_final_only_waits() -> None:
    cumulative, _ = outputs(SamplingParams(max_tokens=100, output_kind=RequestOutputKind.CUMULATIVE))
    assert all(b.outputs[0].text.startswith(a.outputs[0].text) for a, b in pairwise(cumulative))
    delta, _ = outputs(SamplingParams(max_tokens=100, output_kind=RequestOutputKind.DELTA, prompt_logprobs=1))
    assert "".join(output.outputs[0].text for output in delta) == HELLO
    assert [output.prompt_logprobs is not None for output in delta] == [True] + [False] * (len(delta) - 1)
    final, _ = outputs(SamplingParams(max_tokens=100, output_kind=RequestOutputKind.FINAL_ONLY))
    assert len(final) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_step", [1, 3, 50])
@pytest.mark.parametrize(("include", "text"), [(False, "hello world, "), (True, "hello world, stop")])
def test_a_stop_string_ends_the_request_and_tells_the_engine(kind, per_step, include, text) -> None:
    params = SamplingParams(
        stop=["stop", "here"], max_tokens=100, logprobs=0, output_kind=kind, include_stop_str_in_output=include
    )
    made, fake = outputs(params, per_step=per_step)
    final = whole(made, kind)
    (completion,) = final.outputs
    assert (completion.text, completion.finish_reason, completion.stop_reason) == (text, "stop", "stop")
    assert final.finished
    assert "stop" in byte_level_backend().decode(completion.token_ids)
    assert "here" not in byte_level_backend().decode(completion.token_ids)
    assert completion.logprobs is not None
    assert len(completion.logprobs) == len(completion.token_ids)
    assert fake.aborted == ([] if per_step == 50 else [1])


def test_stop_tokens_and_end_tokens() -> None:
    tokens = ids(HELLO)
    made, _ = outputs(SamplingParams(stop_token_ids=[tokens[3]], max_tokens=100))
    completion = made[-1].outputs[0]
    assert (completion.finish_reason, completion.stop_reason) == ("stop", tokens[3])
    assert completion.token_ids == tokens[:4]
    assert completion.text == byte_level_backend().decode(tokens[:3])


def test_without_detokenization_there_are_only_tokens() -> None:
    made, _ = outputs(SamplingParams(max_tokens=100, detokenize=False, logprobs=1))
    completion = made[-1].outputs[0]
    assert (completion.text, completion.token_ids) == ("", ids(HELLO))
    assert completion.logprobs is not None
    assert completion.logprobs[0][ids(HELLO)[0]].decoded_token is None


def test_metrics_come_from_the_timeline() -> None:
    clock = iter(range(100, 200)).__next__
    prepared = prepare(SamplingParams(max_tokens=10))
    prepared.samples[0].arrival = 90.0
    processor = OutputProcessor(None, clock=clock)
    processor.add(prepared)
    events = [("queued", 91.0), ("scheduled", 92.0), ("first_token", 93.0), ("preempted", 94.0)]
    processor.process([EngineOutput(1, [1], events=events, num_cached_tokens=5)])
    (final,) = processor.process([EngineOutput(1, [2, 3], finish_reason="length")]).outputs
    assert final.num_cached_tokens == 5
    metrics = final.metrics
    assert metrics is not None
    assert (metrics.queued_ts, metrics.scheduled_ts, metrics.first_token_ts, metrics.last_token_ts) == (91, 92, 93, 101)
    assert metrics.first_token_latency == pytest.approx(3.0)
    assert (metrics.num_generation_tokens, metrics.num_preemptions) == (3, 1)


def test_only_the_first_sample_says_what_of_the_prompt_was_cached() -> None:
    """What a later one takes from the cache, the first may have computed."""
    processor = OutputProcessor(None)
    processor.add(prepare(SamplingParams(n=2, max_tokens=1)))
    first = EngineOutput(1, [1], finish_reason="length", num_cached_tokens=16)
    second = EngineOutput(2, [1], finish_reason="length", num_cached_tokens=64)
    assert processor.process([first]).outputs[-1].num_cached_tokens == 16
    (final,) = processor.process([second]).outputs
    assert final.num_cached_tokens == 16


def test_abort_ends_all_sequences_with_what_they_have() -> None:
    prepared = prepare(SamplingParams(n=2, max_tokens=10))
    processor = OutputProcessor(Vocabulary(byte_level_backend()))
    processor.add(prepared)
    processor.process([EngineOutput(1, ids("hello")), EngineOutput(2, ids("a"), finish_reason="length")])
    processed = processor.abort(["r", "unknown"])
    (final,) = processed.outputs
    assert processed.abort == [1]
    assert [(c.text, c.finish_reason) for c in final.outputs] == [("hello", "abort"), ("a", "length")]
    assert final.finished
    assert processor.in_flight() == []
    assert processor.process([EngineOutput(1, [1])]).outputs == []  # a late output of an aborted sequence


def test_an_error_ends_its_request_only() -> None:
    processor = OutputProcessor(Vocabulary(byte_level_backend()))
    front_end = input_processor()
    for request_id in ("r", "s"):
        processor.add(front_end.process(request_id, "a prompt", SamplingParams(max_tokens=10)))
    bad = EngineOutput(1, finish_reason="error", error="the logits were not finite")
    (output, other) = processor.process([bad, EngineOutput(2, ids("a"))]).outputs
    assert (output.finished, output.error, output.outputs[0].finish_reason) == (True, bad.error, "error")
    assert (other.finished, other.error) == (False, None)


def test_a_request_id_is_used_once_at_a_time() -> None:
    processor = OutputProcessor(None)
    processor.add(prepare(SamplingParams()))
    with pytest.raises(KeyError, match="already in flight"):
        processor.add(prepare(SamplingParams()))
