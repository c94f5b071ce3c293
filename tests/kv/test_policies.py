"""Which pages a kind of layer needs and when, and which layers share a page table."""

import numpy as np
import pytest

from jaxpaged.kv.kind import PagePolicy, pages_for
from jaxpaged.kv.policies import FullPages, WindowPages
from jaxpaged.kv.spec import CacheGroup, FullAttentionSpec, SlidingWindowSpec, cache_groups, page_policies

LENGTH = 90
WINDOWS = pytest.mark.parametrize(
    "policy", [WindowPages(p, w) for p in (1, 4, 16) for w in (1, 3, 4, 5, 16, 17)], ids=str
)
ALL = pytest.mark.parametrize(
    "policy", [FullPages(4), WindowPages(4, 1), WindowPages(4, 5), WindowPages(1, 3)], ids=str
)


def seen(policy: PagePolicy, position: int) -> list[int]:
    """The pages that a token at `position` sees, from the definition of a window."""
    window = policy.window if isinstance(policy, WindowPages) else position + 1
    keys = [key for key in range(position + 1) if position - key < window]
    return sorted({key // policy.page_size for key in keys})


def test_layers_group_by_kind_those_that_keep_all_first() -> None:
    full, near, far = FullAttentionSpec(2, 8), SlidingWindowSpec(2, 8, 16), SlidingWindowSpec(2, 8, 64)
    groups = cache_groups([far, near, full, far, near, full])
    assert groups == (CacheGroup(full, (2, 5)), CacheGroup(far, (0, 3)), CacheGroup(near, (1, 4)))
    assert page_policies(groups, 4) == (FullPages(4), WindowPages(4, 64), WindowPages(4, 16))


@WINDOWS
def test_the_first_page_is_that_of_the_oldest_token_in_the_window(policy: WindowPages) -> None:
    for position in range(100):
        assert policy.first_page(position) == seen(policy, position)[0]


@ALL
def test_pages_are_let_go_as_soon_as_they_are_not_needed(policy: PagePolicy) -> None:
    positions = np.arange(LENGTH, dtype=np.int32)
    kept = policy.first_kept(positions)
    needed = [policy.first_page(position) for position in positions.tolist()]
    assert needed == ([0] * LENGTH if kept is None else kept.tolist())


@WINDOWS
@pytest.mark.parametrize("chunk", [1, 2, 7, 40])
def test_most_pages_bounds_every_chunk_of_a_run(policy: WindowPages, chunk: int) -> None:
    held = []
    for start in range(0, LENGTH, chunk):
        end = min(start + chunk, LENGTH)
        held.append(pages_for(end, policy.page_size) - policy.first_page(start))
    assert max(held) <= policy.most_pages(LENGTH, chunk)
    assert policy.most_pages(LENGTH, chunk) <= pages_for(LENGTH, policy.page_size)


def test_full_attention_keeps_everything() -> None:
    policy = FullPages(16)
    assert policy.first_page(1000) == 0
    assert (pages_for(16, 16), pages_for(17, 16), policy.most_pages(33, 4)) == (1, 2, 3)
    assert policy.shared_pages(7) == 7
    assert WindowPages(16, 40).shared_pages(7) == 0


@ALL
def test_the_longest_usable_hit_has_all_that_the_next_token_sees(policy: PagePolicy) -> None:
    """Against every shorter length, over random gaps; the next token itself is in no page yet."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        found = rng.integers(0, 9, 8, dtype=np.int32)

        def usable(length: int, found: np.ndarray = found) -> bool:
            needed = [page for page in seen(policy, length * policy.page_size) if page < length]
            return all(found[page] for page in needed)

        for most in range(9):
            assert policy.usable_hit(found, most) == max(length for length in range(most + 1) if usable(length))


@pytest.mark.parametrize(
    ("tokens", "hit", "chunk", "full", "window"), [(30, 2, 64, 6, 6), (30, 2, 8, 6, 2), (9, 2, 8, 1, 1)]
)
def test_what_a_request_takes_beside_its_hit(tokens: int, hit: int, chunk: int, full: int, window: int) -> None:
    """Pages of 4: full attention takes the rest of all its pages, a window only those of the first chunk."""
    needed = pages_for(tokens, 4)
    assert FullPages(4).fresh_pages(needed, tokens, hit, chunk) == full
    assert WindowPages(4, 5).fresh_pages(4, tokens, hit, chunk) == window


def test_pages_to_come_are_those_of_tokens_without_a_page() -> None:
    tokens, end_page = np.array([9, 8, 3], np.int32), np.array([1, 2, 4], np.int32)
    assert FullPages(4).pages_to_come(tokens, end_page) == 2
    assert WindowPages(4, 5).pages_to_come(tokens, end_page) == 0


@ALL
def test_attention_goes_on_from_any_token(policy: PagePolicy) -> None:
    """Its pages hold a slot for each token, and later tokens write to other slots."""
    assert [policy.resume_point(tokens, 20) for tokens in range(21)] == list(range(21))
