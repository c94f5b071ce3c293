"""Beam search against transformers' generate(num_beams=...), recorded by scripts/make_beam_goldens.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.sampling.variant import Variant
from tests.engine import tiny
from tests.engine.beams import run_searches, score, search
from tests.engine.drive import rescheduled
from tests.models.case import GOLDENS, write_checkpoint
from tests.models.cases import CASE

RECORDED = json.loads((GOLDENS / "beams.json").read_text())
PROMPTS: dict[str, dict[str, Any]] = {entry["case"]: entry for entry in RECORDED["prompts"]}
TOLERANCE = 1e-4  # of a score; of a sum of log probabilities where that is larger than 1


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_and_scores_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    recorded, case = PROMPTS[name], CASE[name]
    assert recorded["digest"] == case.digest(), f"{name} has changed: run scripts/make_beam_goldens.py again"
    write_checkpoint(case, tmp_path)
    built = tiny.build(tmp_path, (Variant.LOGPROBS,), max_model_len=64, max_num_batched_tokens=16, max_num_seqs=16)
    for caching in (True, False) if name == "llama" else (True,):
        engine = rescheduled(built, caching=caching)
        messages = [
            search(
                str(index),
                recorded["prompt"],
                each["width"],
                max_tokens=RECORDED["max_tokens"],
                eos=recorded["eos"],
                penalty=each["length_penalty"],
            )
            for index, each in enumerate(recorded["searches"])
        ]
        answers = run_searches(engine, messages)  # of several searches at once, as far as there are rows
        for index, each in enumerate(recorded["searches"]):
            got = [answers[f"{index}.{place}"] for place in range(each["width"])]
            assert [answer.tokens for answer in got] == [want["tokens"] for want in each["answers"]]
            for answer, want in zip(got, each["answers"], strict=True):
                assert score(answer, each["length_penalty"]) == pytest.approx(want["score"], TOLERANCE, TOLERANCE)
                assert answer.reason == ("stop" if want["tokens"][-1] in recorded["eos"] else "length")
    assert built.compiles() == 0


def test_the_recorded_cases_are_telling() -> None:
    searches = [(entry, each) for entry in PROMPTS.values() for each in entry["searches"]]
    assert {(each["width"], each["length_penalty"]) for _, each in searches} == {
        (width, penalty) for width in range(1, 9) for penalty in (-1, 0, 1, 2)
    }
    greedy = {name: entry["searches"][0]["answers"][0]["tokens"] for name, entry in PROMPTS.items()}
    differing = [each["answers"][0]["tokens"] != greedy[entry["case"]] for entry, each in searches]
    assert sum(differing) >= len(searches) / 2
    early = [len({len(answer["tokens"]) for answer in each["answers"]}) > 1 for _, each in searches]
    assert sum(early) >= len(searches) / 4
    assert any(len(entry["eos"]) > 1 for entry in PROMPTS.values())
