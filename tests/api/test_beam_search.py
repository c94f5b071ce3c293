"""LLM.beam_search and what crosses to the engine for it; the search itself is tested in tests/engine."""

from __future__ import annotations

from dataclasses import asdict

import msgspec
import pytest

from jaxpaged import BeamSearchParams, RequestError, SamplingParams
from jaxpaged.engine.beams.search import BeamSearch, Candidates, Choice, normalised
from jaxpaged.engine_process.protocol import Add, ToEngine
from tests.api.test_llm import llm
from tests.fake_engine import FakeEngine
from tests.frontend.test_input_processor import processor
from tests.text.samples import hf_tokenizer

PARAMS = BeamSearchParams(beam_width=3, max_tokens=4, length_penalty=2.0)


def test_answers_hold_the_prompt_as_vllms_do() -> None:
    """The fake engine echoes the prompt, each token with a log probability of -0.5."""
    engine = FakeEngine()
    prompts = ["hello world", "the quick brown fox"]
    outputs = llm(engine).beam_search(prompts, PARAMS)
    for prompt, output in zip(prompts, outputs, strict=True):
        ids = hf_tokenizer().encode(prompt)
        assert len(output.sequences) == 3
        assert output.error is None
        for sequence in output.sequences:
            generated = sequence.tokens[len(ids) :]
            assert sequence.tokens[: len(ids)] == ids
            assert sequence.text == hf_tokenizer().decode(sequence.tokens)
            assert sequence.cum_logprob == -0.5 * len(generated)
            assert sequence.score == pytest.approx(-0.5 / len(generated))
            assert [next(iter(position)) for position in sequence.logprobs] == generated
    assert [asdict(request.beam) for request in engine.requests] == [asdict(PARAMS)] * 6


def test_a_search_crosses_between_processes() -> None:
    message = processor().process("0", [1, 2], SamplingParams(temperature=0), beam=PARAMS).message
    sent = msgspec.msgpack.encode(Add([message]))
    assert msgspec.msgpack.decode(sent, type=ToEngine) == Add([message])


def test_a_stop_token_counts_everywhere() -> None:
    params = BeamSearchParams(beam_width=1, max_tokens=9)
    engine = FakeEngine(script=lambda request: [5, 6, request.eos_token_ids[0]])
    served = llm(engine)
    served._requests._input._eos_token_ids = (7,)
    (sequence,) = served.beam_search([[1, 2]], params)[0].sequences
    assert sequence.tokens == [1, 2, 5, 6, 7]
    assert (sequence.finish_reason, sequence.stop_reason) == ("stop", 7)
    assert (len(sequence.logprobs), sequence.cum_logprob, sequence.score) == (3, -1.5, pytest.approx(-0.5))


def test_a_search_that_fails_says_so_and_leaves_the_others_alone() -> None:
    engine = FakeEngine(fail={2: "not finite"})
    failed, good = llm(engine).beam_search(["hello", "world"], PARAMS)
    assert (failed.sequences, failed.error) == ([], "not finite")
    assert len(good.sequences) == 3


def test_what_cannot_be_searched_is_refused() -> None:
    for beam, model, says in (
        (BeamSearchParams(beam_width=11, max_tokens=4), {}, "beam_width is 11, which takes the 22 .* max_logprobs=22"),
        (PARAMS, {"logprobs_mode": "raw_logits"}, "logprobs_mode is 'raw_logits'"),
        (BeamSearchParams(beam_width=128, max_tokens=4), {"max_logprobs": 255}, "takes the 256 best"),
    ):
        with pytest.raises(RequestError, match=says):
            processor(**model).process("0", [1, 2], SamplingParams(temperature=0), beam=beam)
    served = processor(max_logprobs=-1).process("0", [1, 2], SamplingParams(temperature=0), beam=PARAMS)
    assert [child.request_id for child in served.samples] == [1, 2, 3]
    with pytest.raises(RequestError, match=r"prompts\[1\]: Token id 9999999"):
        llm().beam_search([[1], [9999999]], PARAMS)
    with pytest.raises(RequestError, match="beam_width is 11, which takes the 22"):
        llm().beam_search(["hello"], BeamSearchParams(beam_width=11, max_tokens=4))
    with pytest.raises(RequestError, match="lora_request is not there yet"):
        llm().beam_search(["hello"], PARAMS, lora_request="x")


def test_a_search_by_hand() -> None:
    """Width 2; token 9 ends. Numbers are log probabilities."""
    search = BeamSearch(2, 1.0, {9}, 3)
    assert search.step([Candidates([1, 2, 9], [-1.0, -2.0, -3.0])]) == [Choice(0, 1), Choice(0, 2)]
    assert not search.ended
    chosen = search.step([Candidates([9, 3, 4], [-0.5, -2.0, -5.0]), Candidates([5, 6, 9], [-0.25, -3.0, -4.0])])
    assert chosen == [Choice(1, 5), Choice(0, 3)]
    assert [(ended.beam.token_id, ended.score) for ended in search.ended] == [(9, -0.75)]
    assert search.step([Candidates([7, 8, 9], [-1.0, -2.0, -3.0]), Candidates([7, 8, 9], [-0.5] * 3)]) == []
    assert [[beam.token_id for beam in ended.beam.path()] for ended in search.ended] == [[1, 9], [2, 5, 7]]
    assert [ended.by_stop_token for ended in search.ended] == [True, False]


def test_it_is_over_when_it_cannot_get_better() -> None:
    search = BeamSearch(1, 0.0, {9}, 100)
    assert search.step([Candidates([1, 9], [-1.0, -1.5])]) == [Choice(0, 1)]
    assert search.step([Candidates([9, 1], [-0.5, -0.9])]) == []
    assert BeamSearch(1, 0.0, {9}, 100).step([Candidates([9, 1], [-0.1, -0.5])]) == []


def test_an_answer_that_ends_outside_the_best_width_is_not_kept() -> None:
    search = BeamSearch(1, 1.0, {9}, 100)
    assert search.step([Candidates([1, 9], [-0.5, -0.6])]) == [Choice(0, 1)]
    assert search.ended == []


@pytest.mark.parametrize("penalty", [1e38, -1e38, 0.0])
def test_no_length_penalty_is_too_much(penalty: float) -> None:
    assert normalised(-3.0, 1, penalty) == -3.0
    assert normalised(-3.0, 10, penalty) <= 0
