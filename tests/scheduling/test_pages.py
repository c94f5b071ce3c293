"""Who holds which page."""

import numpy as np
import pytest

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.digest_table import as_digests
from jaxpaged.scheduling.pages import PageAllocator


def ids(*pages: int) -> np.ndarray:
    return np.array(pages, np.int32)


def digests(count: int, seed: int = 0) -> np.ndarray:
    return as_digests([np.random.default_rng(seed).bytes(32 * count)])


def test_the_null_page_is_never_given_away() -> None:
    allocator = PageAllocator(8)
    assert sorted(allocator.allocate(7).tolist()) == [1, 2, 3, 4, 5, 6, 7]


def test_allocation_is_all_or_nothing() -> None:
    allocator = PageAllocator(8)
    held = allocator.allocate(4)
    with pytest.raises(InvariantError, match="4 pages wanted, 3 available"):
        allocator.allocate(4)
    assert allocator.available == 3
    allocator.check(held)


def test_shared_pages_stay_until_the_last_holder_goes() -> None:
    allocator = PageAllocator(8)
    pages = allocator.allocate(3)
    allocator.acquire(pages[:2])
    allocator.release(pages)
    assert allocator.num_held == 2
    allocator.check(pages[:2])
    allocator.release(pages[:2])
    assert allocator.available == 7
    allocator.check()


def test_one_call_may_release_a_page_twice() -> None:
    allocator = PageAllocator(8)
    pages = allocator.allocate(2)
    allocator.acquire(pages)
    allocator.release(np.concatenate((pages, pages[::-1])))
    assert allocator.available == 7
    allocator.check()


def test_releasing_a_free_page_is_an_error() -> None:
    allocator = PageAllocator(8)
    pages = allocator.allocate(1)
    allocator.release(pages)
    with pytest.raises(InvariantError, match="too often"):
        allocator.release(pages)


def test_releasing_the_null_page_is_an_error() -> None:
    with pytest.raises(InvariantError, match="too often"):
        PageAllocator(8).release(ids(0))


def test_published_pages_become_idle_and_are_evicted_last_and_oldest_first() -> None:
    allocator, keys = PageAllocator(6), digests(3)
    pages = allocator.allocate(3)
    allocator.publish(pages, keys)
    allocator.release(pages)
    assert (allocator.num_idle, allocator.available) == (3, 5)
    taken = allocator.allocate(3)  # two free ones, then the least recently used idle one
    assert taken[2] == pages[0]
    assert allocator.find(keys).tolist() == [0, pages[1], pages[2]]
    allocator.check(taken)


def test_a_hit_takes_a_page_out_of_the_idle_ones() -> None:
    allocator, keys = PageAllocator(6), digests(2)
    pages = allocator.allocate(2)
    allocator.publish(pages, keys)
    allocator.release(pages)
    assert allocator.idle_among(pages) == 2
    hit = allocator.find(keys[:1])
    allocator.acquire(np.concatenate((hit, hit)))  # two requests at once
    assert (allocator.num_idle, allocator.num_held, allocator.idle_among(pages)) == (1, 1, 1)
    allocator.check(np.concatenate((hit, hit)))


def test_a_page_whose_content_is_known_already_is_not_kept() -> None:
    allocator, keys = PageAllocator(6), digests(1)
    first, second = allocator.allocate(1), allocator.allocate(1)
    allocator.publish(first, keys)
    allocator.publish(second, keys)
    assert allocator.find(keys).tolist() == first.tolist()
    allocator.release(np.concatenate((first, second)))
    assert allocator.num_idle == 1
    allocator.check()


def test_forgetting_frees_idle_pages_and_keeps_held_ones() -> None:
    allocator, keys = PageAllocator(6), digests(2)
    pages = allocator.allocate(2)
    allocator.publish(pages, keys)
    allocator.release(pages[:1])
    allocator.forget_all()
    assert (allocator.num_idle, allocator.num_held) == (0, 1)
    assert not allocator.find(keys).any()
    allocator.check(pages[1:])
    allocator.release(pages[1:])
    assert allocator.num_idle == 0


def test_holds_keep_pages_alive() -> None:
    allocator = PageAllocator(6)
    pages = allocator.allocate(2)
    allocator.hold("transfer", pages)
    with pytest.raises(InvariantError, match="exists already"):
        allocator.hold("transfer", pages)
    allocator.release(pages)
    assert allocator.num_held == 2
    allocator.check()
    allocator.release_hold("transfer")
    assert allocator.num_held == 0
    allocator.check()


def test_a_forked_partial_page_is_copied_by_its_first_writer_only() -> None:
    allocator = PageAllocator(8)
    pages = allocator.allocate(2)
    allocator.fork(pages, int(pages[1]))
    assert not allocator.must_copy(int(pages[0]))
    assert allocator.must_copy(int(pages[1]))
    own = allocator.copy_on_write(int(pages[1]))
    assert own not in pages
    assert not allocator.must_copy(int(pages[1]))  # the other holder is alone with it now
    allocator.check(np.array([*pages, pages[0], own]))


def test_a_forked_page_that_the_parent_filled_and_published_is_copied_though_the_parent_left() -> None:
    allocator = PageAllocator(8)
    pages = allocator.allocate(1)
    allocator.fork(pages, int(pages[0]))
    allocator.publish(pages, digests(1))
    allocator.release(pages)
    assert allocator.must_copy(int(pages[0]))
    own = allocator.copy_on_write(int(pages[0]))
    assert allocator.num_idle == 1
    allocator.check(ids(own))


@pytest.mark.parametrize("spoil", ["refs", "null", "free", "known"])
def test_check_notices(spoil: str) -> None:
    allocator = PageAllocator(8)
    held = allocator.allocate(3)
    match spoil:
        case "refs":
            allocator.refs[held[0]] += 1
        case "null":
            held = ids(0, *held)
        case "free":
            allocator._num_free -= 1
        case "known":
            allocator._contents.known[held[0]] = True
    with pytest.raises(InvariantError):
        allocator.check(held)
