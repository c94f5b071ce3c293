"""Pinned prefixes: kept whatever happens, at most half the pool, and never in the way of a request for ever."""

from __future__ import annotations

import pytest

from jaxpaged.errors import RequestError
from jaxpaged.kv.spec import cache_groups
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.request import Request
from tests.scheduling.harness import FULL, Harness, Setup, page_use, window
from tests.scheduling.test_siblings import prompt


def pin(harness: Harness, name: str, tokens: list[int], salt: str | None = None) -> int:
    harness.add(tokens, 1, salt=salt)
    while harness.scheduler.has_work():
        harness.turn()
    pinned = harness.scheduler.pin(name, Request(10**6, tokens, SamplingParams(), cache_salt=salt))
    harness.scheduler.check()
    return pinned


def flood(harness: Harness, first: int = 2) -> None:
    """Enough other requests to evict everything that is not pinned, several times."""
    for salt in range(first, first + 10):
        harness.add(prompt(18, salt), 6)
    while harness.scheduler.has_work():
        harness.turn()


@pytest.mark.parametrize("groups", [cache_groups([FULL]), cache_groups([FULL, window(6)]), cache_groups([window(5)])])
@pytest.mark.parametrize("length", [16, 17, 19])
def test_a_pinned_prefix_is_found_whatever_ran_since(groups: tuple, length: int) -> None:  # type: ignore[type-arg]
    harness = Harness(Setup(groups=groups, num_pages=18))
    assert pin(harness, "a", prompt(length)) == 16
    flood(harness)
    tracked = harness.add([*prompt(16), 9, 9, 9], 4)
    while harness.scheduler.has_work():
        harness.turn()
    assert tracked.request.num_cached_tokens == 16
    harness.scheduler.unpin("a")
    harness.drain()
    flood(harness, 12)
    again = harness.add([*prompt(16), 9, 9, 9], 4)
    harness.drain()
    assert again.request.num_cached_tokens == 0


def test_only_the_same_salt_finds_it() -> None:
    harness = Harness(Setup(num_pages=32))
    pin(harness, "a", prompt(16), salt="x")
    found = [harness.add([*prompt(16), 3], 1, salt=salt) for salt in ("x", None, "y")]
    while harness.scheduler.has_work():
        harness.turn()
    assert [tracked.request.num_cached_tokens for tracked in found] == [16, 0, 0]


def test_no_more_than_half_the_pool() -> None:
    harness = Harness(Setup(num_pages=18))
    pin(harness, "a", prompt(16))
    pin(harness, "b", [*prompt(16), 9, 9, 9, 9])  # shares the pages of a
    assert page_use(harness) == [5]
    pin(harness, "c", prompt(12, 3))
    with pytest.raises(RequestError, match="has 1 KV pages, 8 pages are pinned already, and no more than 8"):
        pin(harness, "d", prompt(4, 5))
    harness.scheduler.unpin("a")
    assert page_use(harness) == [8]
    harness.scheduler.unpin("b")
    assert page_use(harness) == [3]
    pin(harness, "d", prompt(4, 5))
    for name in ("c", "d", "never there"):
        harness.scheduler.unpin(name)
    harness.drain()


def test_what_can_never_run_beside_the_pins_is_refused() -> None:
    harness = Harness(Setup(num_pages=11))
    pin(harness, "a", prompt(16))
    with pytest.raises(RequestError, match="need 7 KV pages of 4 tokens, and beside pinned prefixes there are 6"):
        harness.add(prompt(9, 3), 17)
    assert not harness.scheduler.has_work()
    fits = harness.add(prompt(9, 3), 16)
    shares = harness.add([*prompt(16), 3], 24)  # all ten pages, four of them pinned
    while harness.scheduler.has_work():
        harness.turn()
    assert fits.tokens == fits.expected
    assert shares.tokens == shares.expected
    harness.scheduler.unpin("a")
    harness.drain()


def test_a_pin_that_leaves_a_live_request_no_room_is_refused() -> None:
    harness = Harness(Setup(num_pages=11))
    harness.add(prompt(16), 1)
    harness.drain()
    tracked = harness.add(prompt(9, 3), 20)
    with pytest.raises(RequestError, match="beside pinned prefixes"):
        harness.scheduler.pin("a", Request(99, prompt(16), SamplingParams()))
    harness.scheduler.check()
    harness.drain()
    assert tracked.tokens == tracked.expected


def test_nothing_to_pin() -> None:
    harness = Harness(Setup())
    with pytest.raises(RequestError, match="nothing to pin of a prefix of 3 tokens: only full pages of 4"):
        pin(harness, "a", prompt(3))
    with pytest.raises(RequestError, match="prefix caching is off"):
        pin(Harness(Setup(caching=False)), "a", prompt(9))
    pin(harness, "a", prompt(9))
    with pytest.raises(RequestError, match="'a' is pinned already"):
        pin(harness, "a", prompt(9))


def test_forgetting_prefixes_releases_them() -> None:
    harness = Harness(Setup())
    pin(harness, "a", prompt(9))
    harness.scheduler.reset_prefix_cache()
    harness.scheduler.check()
    assert page_use(harness) == [0]
    harness.scheduler.unpin("a")
    assert pin(harness, "a", prompt(9)) == 8


def test_on_the_shard_that_has_it() -> None:
    harness = Harness(Setup(num_pages=18, shards=2))
    harness.add(prompt(8, 3), 6)
    pin(harness, "a", prompt(16))
    flood(harness)
    tracked = harness.add([*prompt(16), 9], 4)
    while harness.scheduler.has_work():
        harness.turn()
    assert tracked.request.num_cached_tokens == 16
    assert sorted(shard.allocators[0].num_held for shard in harness.scheduler.shards) == [0, 4]
