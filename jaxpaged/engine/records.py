"""A short memory of what the engine did, written out when it dies."""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jaxpaged.scheduling.plan import StepPlan

KEPT = 1024


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One plan: when it was submitted (monotonic seconds), its size and its sampler variant."""

    step: int
    submitted: float
    sequences: int
    tokens: int
    admitted: int
    sampled: int
    variant: int


@dataclass(slots=True)
class StepRecords:
    """The last 1,024 steps, oldest first."""

    records: deque[StepRecord] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, plan: StepPlan, submitted: float) -> StepRecord:
        shards = plan.shards
        record = StepRecord(
            step=plan.step,
            submitted=submitted,
            sequences=sum(len(shard.rows) for shard in shards),
            tokens=sum(int(shard.counts.sum()) for shard in shards),
            admitted=sum(len(shard.admissions) for shard in shards),
            sampled=sum(int(shard.samples.sum()) for shard in shards),
            variant=max(shard.variant for shard in shards),
        )
        self.records.append(record)
        return record

    def dump(self, path: Path) -> Path:
        """Write one JSON line per step; returns the path."""
        path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in self.records))
        return path


def crash_file() -> Path:
    """A new file that only this user can read."""
    handle, name = tempfile.mkstemp(prefix="jaxpaged-steps-", suffix=".jsonl")
    os.close(handle)
    return Path(name)
