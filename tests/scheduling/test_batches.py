"""What a step does to all its changes at once is what it would do to one after another."""

from __future__ import annotations

import copy

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxpaged.config import SchedulerLimits
from jaxpaged.kv.spec import cache_groups, page_policies
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.admission import _first_with_pages
from jaxpaged.scheduling.digest_table import as_digests
from jaxpaged.scheduling.intake import Intake
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.publish import publish_full_pages
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.running import StepBuilder
from jaxpaged.scheduling.shard import Shard
from tests.scheduling.harness import FULL, window

PAGE, LENGTH, SEQS, PAGES = 4, 40, 6, 80
GROUPS = cache_groups([FULL, window(6)])
HASHER = PrefixHasher(PAGE, b"root")

prompts = st.lists(st.integers(0, 3), min_size=1, max_size=20)
stops = st.sampled_from([None, [7], [7, 9, 11]])
requests = st.lists(st.tuples(prompts, stops), min_size=1, max_size=SEQS)


def accepted(asked: list[tuple[list[int], list[int] | None]]) -> list[Request]:
    policies = page_policies(GROUPS, PAGE)
    intake = Intake(SchedulerLimits(SEQS, 64), policies, (PAGES, PAGES), LENGTH, HASHER)
    made = [
        Request(index + 1, prompt, SamplingParams(max_tokens=9, stop_token_ids=ending), (0,))
        for index, (prompt, ending) in enumerate(asked)
    ]
    for request in made:
        intake.accept(request)
    return made


def shard() -> Shard:
    rows = Rows(SEQS, LENGTH, PAGE, len(GROUPS))
    return Shard(0, rows, page_policies(GROUPS, PAGE), (PAGES, PAGES), HASHER)


def state(rows: Rows) -> list[object]:
    """All that rows know, but for the ids of free ones."""
    arrays = rows._columns, rows.more_stops, rows.history, rows.epoch, rows.ids * rows.active, *rows.tables
    holders = [request and request.request_id for request in rows.requests]
    digests = [rows.page_digests(row) for row in range(len(rows.requests))]
    return [*(array.tolist() for array in arrays), holders, digests, rows.free]


@given(requests, st.data())
def test_rows_are_occupied_and_vacated(asked: list[tuple[list[int], list[int] | None]], data: st.DataObject) -> None:
    together, apart = Rows(SEQS, LENGTH, PAGE, 2), Rows(SEQS, LENGTH, PAGE, 2)
    taken = together.occupy(accepted(asked), 0, 1.0)
    for request, row in zip(accepted(asked), taken.tolist(), strict=True):
        assert apart.occupy([request], 0, 1.0).tolist() == [row] == [request.row]
    assert state(together) == state(apart)
    leaving = data.draw(st.lists(st.sampled_from(taken.tolist()), unique=True, min_size=1))
    together.vacate(np.array(leaving, np.intp))
    for row in reversed(leaving):  # the first of them is the first to be given away again
        apart.vacate(np.array([row], np.intp))
    assert state(together) == state(apart)
    assert not together.columns_in_use()[leaving].any()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 40), st.integers(0, 6))
def test_chunks_that_all_fit_are_taken_as_one_by_one(behind: list[int], budget: int, logit_rows: int) -> None:
    together = StepBuilder(budget, logit_rows, np.zeros(1, np.bool_))
    apart = copy.deepcopy(together)
    counts = [apart.take_chunk(tokens, False) for tokens in behind]
    fits = together.take_all(sum(behind), len(behind))
    assert fits == (counts == behind)
    if fits:
        assert (together.budget, together.logit_rows) == (apart.budget, apart.logit_rows)
    else:
        assert (together.budget, together.logit_rows) == (budget, logit_rows)


needs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6)


@given(needs, st.tuples(st.integers(-2, 20), st.integers(-2, 20)), st.booleans(), st.data())
def test_pages_go_to_the_first_that_find_them(
    asked: list[tuple[int, int]], left: tuple[int, int], children: bool, data: st.DataObject
) -> None:
    kept = data.draw(st.lists(st.integers(0, 3), min_size=len(asked), max_size=len(asked))) if children else None
    room, fitting = list(left), 0
    for need, more in zip(asked, kept or [0] * len(asked), strict=True):
        room = [pages - wanted - more for pages, wanted in zip(room, need, strict=True)]
        if min(room) < 0:
            break
        fitting += 1
    assert _first_with_pages(asked, kept, list(left)) == fitting


def computed_shard(asked: list[tuple[list[int], list[int] | None]], lost: list[bool]) -> tuple[Shard, np.ndarray]:
    """A shard with a row for each request and all pages of its prompt; of some the first page has been let go."""
    made = shard()
    where = made.rows.occupy(accepted(asked), 0, 1.0)
    for group, allocator in enumerate(made.allocators):
        for row, drops in zip(where.tolist(), lost, strict=True):
            end = -(-int(made.rows.num_tokens[row]) // PAGE)
            made.rows.tables[group][row, :end] = allocator.allocate(end)
            if drops and group:
                allocator.release(made.rows.tables[group][row, :1])
                made.rows.tables[group][row, 0] = 0
    return made, where


@given(requests, st.data())
def test_pages_are_published(asked: list[tuple[list[int], list[int] | None]], data: st.DataObject) -> None:
    lost = data.draw(st.lists(st.booleans(), min_size=len(asked), max_size=len(asked)))
    (together, where), (apart, _) = computed_shard(asked, lost), computed_shard(asked, lost)
    for half in (True, False):
        computed = together.rows.num_tokens[where] // (2 if half else 1)
        for made in (together, apart):
            for row in where.tolist():  # some are hashed beforehand, as prompts are, the others when they are full
                if row % 2:
                    made.rows.hashed[row] = min(1, made.rows.hashed[row])
        publish_full_pages(together, HASHER, where, computed)
        for row, tokens in zip(where, computed, strict=True):
            publish_full_pages(apart, HASHER, np.array([row], np.intp), np.array([tokens], np.int32))
    assert state(together.rows) == state(apart.rows)
    for group in range(len(GROUPS)):
        pages, others = published(together, group), published(apart, group)
        assert pages.keys() == others.keys()
        for digest, page in pages.items():  # of equal pages any may be kept
            assert (page == 0) == (others[digest] == 0)
            assert page == 0 or page in holders(together, group)[digest]
        together.allocators[group]._contents.check()


def holders(made: Shard, group: int) -> dict[bytes, set[int]]:
    """The pages of each digest, by the page tables."""
    found: dict[bytes, set[int]] = {}
    for row, pages in enumerate(made.rows.hashed.tolist()):
        for index in range(pages):
            digest = made.rows.digests[row, index + 1].tobytes()
            found.setdefault(digest, set()).add(int(made.rows.tables[group][row, index]))
    return found


def published(made: Shard, group: int) -> dict[bytes, int]:
    digests = list(holders(made, group))
    return dict(zip(digests, made.allocators[group].find(as_digests(digests)).tolist(), strict=True))
