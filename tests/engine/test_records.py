"""The last 1,024 steps, as one JSON line each."""

import json
from pathlib import Path

from jaxpaged.engine.records import KEPT, StepRecords
from jaxpaged.scheduling.plan import StepPlan
from tests.execution.plans import Sequence, shard_plan


def test_the_last_steps_are_kept_and_dumped(tmp_path: Path) -> None:
    records = StepRecords()
    parts = [Sequence(4, 9, 1, (), True, ()), Sequence(2, 0, 3, (1, 1, 1), False, ())]
    shard = shard_plan(parts, ())
    for step in range(KEPT + 10):
        records.add(StepPlan(step, (shard, shard)), step / 2)
    lines = [json.loads(line) for line in records.dump(tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, KEPT + 10))
    assert lines[0] == {
        "step": 10, "submitted": 5.0, "sequences": 4, "tokens": 8, "admitted": 0, "sampled": 2, "variant": 0,
    }  # fmt: skip
