"""A model without arithmetic, and a device that runs plans of it from their bytes alone.

The "keys and values" of a token are numbers in pages, and the next token is a hash of all numbers that its query sees:
a wrong page, a stale slot, a token out of place or a prefix of another salt gives a wrong token. `next_token` computes
the same from the true history, without pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxpaged.scheduling.plan import ShardPlan, ShardResult, StepResult
from jaxpaged.scheduling.plan_wire import decode_plan

VOCAB = 24
LOOKS_BACK = 2
MASK = (1 << 61) - 1


def mix(*numbers: int) -> int:
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = ((state ^ (number + 0x7F4A7C15)) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & MASK
        state ^= state >> 29
    return state


def next_token(tokens: Sequence[int], secret: int, windows: Sequence[int | None], looks_back: bool) -> int:
    """The true continuation. The value of a token in a full group depends on all tokens before it."""
    sums = []
    for window in windows:
        value, values = 0, []
        for position, token in enumerate(tokens):
            value = mix(token, position, secret, value if window is None else 0)
            values.append(value)
        first = 0 if window is None else max(len(tokens) - window, 0)
        sums.append(sum(mix(value, first + i) for i, value in enumerate(values[first:])) & MASK)
    return mix(*sums, *(tokens if looks_back else ())) % VOCAB


@dataclass(eq=False)
class ShardMemory:
    """The device state of one data shard: pools [group][page, slot], page tables [group][row, index], histories."""

    pools: list[np.ndarray]
    tables: list[np.ndarray]
    history: np.ndarray
    owners: dict[int, int] = field(default_factory=dict)


class FakeDevice:
    """Executes plans at once.

    By request id: `secrets` stand for what adapter and salt would change, `broken` have logits that are not finite, and
    `stuttering` answer no token at all the next time, though they have computed and written one.
    """

    def __init__(
        self, windows: Sequence[int | None], pages: Sequence[int], page_size: int, rows: int, length: int, shards: int
    ) -> None:
        self.windows = tuple(windows)
        self.page_size = page_size
        self.secrets: dict[int, int] = {}
        self.broken: set[int] = set()
        self.stuttering: set[int] = set()
        self.looks_back: set[int] = set()
        self.prompt_positions: list[tuple[int, int, int]] = []
        width = -(-length // page_size)
        self.shards = [
            ShardMemory(
                [np.full((count, page_size), 666, np.int64) for count in pages],
                [np.zeros((rows, width), np.int32) for _ in pages],
                np.full((rows, length + 1), 666, np.int64),
            )
            for _ in range(shards)
        ]

    def run(self, data: bytes) -> StepResult:
        plan = decode_plan(data)
        parts = zip(self.shards, plan.shards, strict=True)
        return StepResult(tuple(self._run_shard(memory, part) for memory, part in parts))

    def _run_shard(self, memory: ShardMemory, plan: ShardPlan) -> ShardResult:
        for admission in plan.admissions:
            memory.owners[admission.row] = admission.request_id
            memory.history[admission.row] = 666
            memory.history[admission.row, : len(admission.known_tokens)] = admission.known_tokens
            for table, pages in zip(memory.tables, admission.pages, strict=True):
                table[admission.row] = 0
                table[admission.row, : len(pages)] = pages
        for pool, copies in zip(memory.pools, plan.page_copies, strict=True):
            for source, target in copies.tolist():
                pool[target] = pool[source]
        for table, writes in zip(memory.tables, plan.page_writes, strict=True):
            for row, index, page in writes.tolist():
                table[row, index] = page
        self._write_tokens(memory, plan)
        self._note_prompt_positions(memory, plan)
        return self._sample(memory, plan)

    def _write_tokens(self, memory: ShardMemory, plan: ShardPlan) -> None:
        given = iter(plan.tokens.tolist())
        written = set()
        for row, start, count, known in zip(
            plan.rows.tolist(), plan.starts.tolist(), plan.counts.tolist(), plan.host_counts.tolist(), strict=True
        ):
            secret = self.secrets[memory.owners[row]]
            for position in range(start, start + count):
                if position < start + known:
                    memory.history[row, position] = next(given)
                token = int(memory.history[row, position])
                assert 0 <= token < VOCAB, f"row {row} computes an unknown token at {position}"
                for group, window in enumerate(self.windows):
                    before = self._value(memory, group, row, position - 1) if window is None and position else 0
                    page = int(memory.tables[group][row, position // self.page_size])
                    slot = position % self.page_size
                    assert page > 0, "the null page is written"
                    assert (group, page, slot) not in written, "two sequences write one slot"
                    written.add((group, page, slot))
                    memory.pools[group][page, slot] = mix(token, position, secret, before)
        assert next(given, None) is None

    def _value(self, memory: ShardMemory, group: int, row: int, position: int) -> int:
        page = memory.tables[group][row, position // self.page_size]
        return int(memory.pools[group][page, position % self.page_size])

    def _note_prompt_positions(self, memory: ShardMemory, plan: ShardPlan) -> None:
        ends = np.cumsum(plan.counts)
        for index, row in plan.prompt_logprob_rows.tolist():
            sequence = int(np.searchsorted(ends, index, side="right"))
            assert int(plan.rows[sequence]) == row
            position = int(plan.starts[sequence]) + index - int(ends[sequence] - plan.counts[sequence])
            target = int(memory.history[row, position + 1])
            self.prompt_positions.append((memory.owners[row], position, target))

    def _sample(self, memory: ShardMemory, plan: ShardPlan) -> ShardResult:
        builders = plan.draft_counts.tolist() or [0] * len(plan.rows)
        tokens = np.zeros((len(plan.rows), max(builders, default=0) + 1), np.int32)
        counts = np.zeros(len(plan.rows), np.int32)
        finite = np.ones(len(plan.rows), np.bool_)
        for index, row in enumerate(plan.rows.tolist()):
            if not plan.samples[index]:
                continue
            finite[index] = memory.owners[row] not in self.broken
            if memory.owners[row] in self.stuttering:
                self.stuttering.remove(memory.owners[row])
                memory.history[row, int(plan.starts[index] + plan.counts[index])] = 3
                continue
            length = int(plan.starts[index] + plan.counts[index]) - builders[index]
            while True:
                token = self._next(memory, row, length)
                tokens[index, counts[index]] = token
                counts[index] += 1
                right = counts[index] <= builders[index] and int(memory.history[row, length]) == token
                if not right:
                    memory.history[row, length] = token
                    break
                length += 1
        return ShardResult(tokens, counts, finite)

    def _next(self, memory: ShardMemory, row: int, length: int) -> int:
        sums = []
        for group, window in enumerate(self.windows):
            first = 0 if window is None else max(length - window, 0)
            values = (mix(self._value(memory, group, row, p), p) for p in range(first, length))
            sums.append(sum(values) & MASK)
        looks_back = memory.owners[row] in self.looks_back
        return mix(*sums, *(memory.history[row, :length].tolist() if looks_back else ())) % VOCAB
