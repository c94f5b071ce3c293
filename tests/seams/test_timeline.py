"""Timeline: one list of monotonic events per request, and a record of each step that can be dumped."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest

from jaxpaged.engine.engine import Engine
from jaxpaged.frontend.model_files import load_front_end
from jaxpaged.llm import LLM
from jaxpaged.sampling_params import SamplingParams
from tests.engine import tiny
from tests.engine.drive import Answer, ask, collect, preemptions, rescheduled, run
from tests.engine.tiny import VOCAB


def events(answer: Answer) -> list[tuple[str, float]]:
    assert answer.last is not None
    return answer.last.events


def test_events_in_order(engine: Engine) -> None:
    began = time.monotonic()
    answers = run(rescheduled(engine), [ask(str(i), [i + 1] * 20) for i in range(12)])
    for answer in answers.values():
        assert [name for name, _ in events(answer)] == ["queued", "scheduled", "first_token", "finished"]
        times = [began, *(at for _, at in events(answer)), time.monotonic()]
        assert times == sorted(times)
    waited = [dict(events(answers[str(i)]))["scheduled"] for i in (0, 11)]
    assert waited[0] < waited[1]  # eight rows, twelve requests


def test_preemption_is_an_event(engine: Engine) -> None:
    tight = rescheduled(engine, pages=9)
    answers = run(tight, [ask(str(i), [(i + 5 * j) % VOCAB for j in range(40)], max_tokens=30) for i in range(3)])
    names = [name for answer in answers.values() for name, _ in events(answer)]
    assert names.count("preempted") == preemptions(tight) > 0
    assert names.count("scheduled") == 3 + names.count("preempted")
    assert names.count("first_token") == 3


def test_idle_time_is_no_delay(engine: Engine) -> None:
    """last_step_age, by which health is judged, counts while work waits only."""
    view = rescheduled(engine)
    run(view, [ask("a", [1, 2, 3])])
    view._last_progress -= 1000
    assert view.stats().last_step_age == 0
    view.add(ask("b", [1, 2, 3]))
    assert view.stats().last_step_age < 100
    view._last_progress -= 1000
    view.add(ask("c", [1, 2, 3]))  # does not hide that b waits
    assert view.stats().last_step_age > 999
    collect(view, {"b": Answer(), "c": Answer()})


def test_metrics_of_an_output(engine: Engine, llama: Path) -> None:
    config = tiny.engine_config(llama)
    llm = LLM.from_engine(rescheduled(engine), load_front_end(config.model), config)
    params = SamplingParams(temperature=0, max_tokens=4, detokenize=False)
    (output,) = llm.generate({"prompt_token_ids": [1, 2, 3]}, params, use_tqdm=False)
    metrics = output.metrics
    assert metrics is not None
    stamps = [metrics.queued_ts, metrics.scheduled_ts, metrics.first_token_ts, metrics.last_token_ts]
    assert stamps == sorted(stamps)
    assert stamps[0] > 0


def test_the_steps_are_recorded_and_dumped(engine: Engine, tmp_path: Path) -> None:
    view = rescheduled(engine)
    run(view, [ask("a", list(range(1, 21)), max_tokens=5), ask("b", [1, 2], max_tokens=5)])
    lines = [json.loads(line) for line in view.records.dump(tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, view.stats().num_steps + 1))
    assert sum(line["tokens"] for line in lines) == 20 + 2 + 4 + 4
    assert sum(line["sampled"] for line in lines) == 10
    assert sum(line["admitted"] for line in lines) == 2
    assert [line["submitted"] for line in lines] == sorted(line["submitted"] for line in lines)


def test_a_crash_leaves_the_last_steps_behind(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    view = rescheduled(engine, depth=1)
    view.add(ask("a", [1, 2, 3], max_tokens=9))
    view.step()
    monkeypatch.setattr(view.scheduler, "commit", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError) as caught:
        view.step()
    (note,) = caught.value.__notes__
    (file,) = tmp_path.iterdir()
    assert str(file) in note
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2]
