"""What may share a prefix, and what never does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxpaged.kv.spec import cache_groups, page_policies
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, as_digests
from jaxpaged.scheduling.pages import PageAllocator
from jaxpaged.scheduling.prefix_cache import PrefixCache, PrefixHasher
from jaxpaged.scheduling.request import Request
from tests.scheduling.harness import FULL, window

PAGE = 4
TOKENS = np.arange(20, dtype=np.int32)


def request(**fields: object) -> Request:
    return Request(1, TOKENS.tolist(), SamplingParams(), **fields)  # type: ignore[arg-type]


def digests(hasher: PrefixHasher, tokens: np.ndarray = TOKENS, **fields: object) -> list[bytes]:
    made = request(**fields)
    made.tokens = tokens
    hasher.prepare(made)
    data = made.page_digests[DIGEST_BYTES:]
    return [data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES)]


# Every way in which two requests with the same tokens may differ. Equal strings stand in several dimensions.
DIMENSIONS: list[dict[str, object]] = [
    {},
    {"cache_salt": ""},
    {"cache_salt": "x"},
    {"cache_salt": "y"},
    {"adapter": "x"},
    {"adapter": "x", "adapter_version": 1},
    {"adapter": "x1"},
    {"adapter": "x", "cache_salt": "x"},
    {"cache_salt": "x adapter 1\nx"},
    {"cache_salt": "adapter 1\nx"},
    {"content_hashes": ((0, b"x"),)},
    {"content_hashes": ((1, b"x"),)},
    {"content_hashes": ((0, b"y"),)},
    {"content_hashes": ((0, b"x"), (1, b"x"))},
    {"content_hashes": ((0, b"xcontent 1 1\nx"),)},
]


def test_any_difference_in_any_dimension_changes_every_page() -> None:
    hasher = PrefixHasher(PAGE)
    lines = [digests(hasher, **fields) for fields in DIMENSIONS]
    for a, b in itertools.combinations(lines, 2):
        assert not set(a) & set(b)


def test_equal_requests_share_and_a_longer_one_continues() -> None:
    hasher = PrefixHasher(PAGE)
    for fields in DIMENSIONS:
        assert digests(hasher, **fields) == digests(hasher, **fields)
        assert digests(hasher, TOKENS[:11], **fields) == digests(hasher, **fields)[:2]


def test_content_changes_the_pages_from_its_position_on() -> None:
    hasher = PrefixHasher(PAGE)
    plain, image = digests(hasher), digests(hasher, content_hashes=((9, b"image"),))
    assert plain[:2] == image[:2]
    assert not set(plain[2:]) & set(image[2:])


def test_a_token_changes_its_page_and_those_after() -> None:
    hasher = PrefixHasher(PAGE)
    other = TOKENS.copy()
    other[5] = 99
    a, b = digests(hasher), digests(hasher, other)
    assert a[0] == b[0]
    assert not set(a[1:]) & set(b[1:])


def test_roots_are_secret_and_weights_count() -> None:
    assert digests(PrefixHasher(PAGE)) != digests(PrefixHasher(PAGE))
    hasher = PrefixHasher(PAGE, b"root")
    before = digests(hasher)
    assert before == digests(PrefixHasher(PAGE, b"root"))
    hasher.weights_version += 1
    assert not set(before) & set(digests(hasher))


def test_extending_page_by_page_is_hashing_at_once() -> None:
    hasher, slow = PrefixHasher(PAGE), request()
    for length in range(1, 21):
        slow.tokens = TOKENS[:length]
        hasher.prepare(slow)
    assert slow.page_digests == hasher.key(slow) + b"".join(digests(hasher))


@pytest.mark.parametrize(("length", "pages"), [(1, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_hit_always_leaves_a_token_to_compute(length: int, pages: int) -> None:
    hasher, asked = PrefixHasher(PAGE), request()
    asked.tokens = TOKENS[:length]
    hasher.prepare(asked)
    assert asked.usable_pages == pages


class Cache:
    """A cache of one request's five pages in several groups, some of them missing."""

    def __init__(self, specs: list[object], missing: list[list[int]]) -> None:
        policies = page_policies(cache_groups(specs), PAGE)  # type: ignore[arg-type]
        self.allocators = [PageAllocator(16) for _ in policies]
        self.cache = PrefixCache(self.allocators, policies)
        self.request = request()
        self.request.tokens = np.arange(21, dtype=np.int32)
        PrefixHasher(PAGE).prepare(self.request)
        self.pages = []
        for allocator, gaps in zip(self.allocators, missing, strict=True):
            kept = [page for page in range(5) if page not in gaps]
            pages = allocator.allocate(5)
            allocator.publish(pages[kept], as_digests([self.request.page_digests])[1:][kept])
            self.pages.append(pages.tolist())

    def hit(self) -> tuple[int, tuple[int, ...]]:
        (hit,) = self.cache.match([self.request])
        for pages, known, first in zip(hit.pages, self.pages, hit.first_pages, strict=True):
            assert pages.tolist() == known[first : hit.num_pages]
        return hit.num_pages, hit.first_pages


def test_full_attention_needs_every_page_from_the_first() -> None:
    assert Cache([FULL], [[]]).hit() == (5, (0,))
    assert Cache([FULL], [[3]]).hit() == (3, (0,))
    assert Cache([FULL], [[0]]).hit() == (0, (0,))


def test_a_window_needs_only_what_the_next_token_sees() -> None:
    # A window of 6: the token at 20 sees 15..20, pages 3 and 4; the one at 12 sees 7..12, pages 1 and 2.
    assert Cache([window(6)], [[0, 1, 2]]).hit() == (5, (3,))
    assert Cache([window(6)], [[0, 3]]).hit() == (3, (1,))
    assert Cache([window(6)], [[1, 4]]).hit() == (4, (2,))
    assert Cache([window(6)], [[1, 3]]).hit() == (1, (0,))
    assert Cache([window(6)], [[0, 1, 2, 3, 4]]).hit() == (0, (0,))


def test_groups_agree_on_the_longest_common_hit() -> None:
    assert Cache([FULL, window(6)], [[], [0, 1, 2]]).hit() == (5, (0, 3))
    assert Cache([FULL, window(6)], [[4], [0, 1]]).hit() == (4, (0, 2))
    assert Cache([FULL, window(6)], [[4], [0, 2]]).hit() == (0, (0, 0))
    assert Cache([FULL, window(6)], [[4], [2]]).hit() == (2, (0, 0))
    assert Cache([FULL, window(3), window(14)], [[], [3], [0]]).hit() == (5, (0, 4, 1))
    # Without page 4 the small window allows a hit of 4; there the large one sees page 0, which it lacks.
    assert Cache([FULL, window(3), window(14)], [[], [4], [0]]).hit() == (0, (0, 0, 0))


def test_requests_of_a_block_are_matched_together() -> None:
    made = Cache([FULL], [[3]])
    stranger = request(cache_salt="other")
    stranger.tokens = made.request.tokens
    PrefixHasher(PAGE).prepare(stranger)
    silent = request()
    hits = made.cache.match([stranger, made.request, silent, made.request])
    assert [hit.num_pages for hit in hits] == [0, 3, 0, 3]
