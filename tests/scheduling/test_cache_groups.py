"""Page arithmetic, and which layers share a page table."""

import pytest

from jaxpaged.kv.spec import CacheGroup, FullAttentionSpec, SlidingWindowSpec, cache_groups
from jaxpaged.scheduling.cache_groups import PageGeometry, geometries


def test_layers_group_by_spec_full_attention_first() -> None:
    full, near, far = FullAttentionSpec(2, 8), SlidingWindowSpec(2, 8, 16), SlidingWindowSpec(2, 8, 64)
    groups = cache_groups([far, near, full, far, near, full])
    assert groups == (CacheGroup(full, (2, 5)), CacheGroup(far, (0, 3)), CacheGroup(near, (1, 4)))
    assert [group.window for group in groups] == [None, 64, 16]
    assert geometries(groups, 4)[1] == PageGeometry(4, 64)


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("window", [1, 3, 4, 5, 16, 17])
def test_the_first_page_is_that_of_the_oldest_token_in_the_window(page_size: int, window: int) -> None:
    geometry = PageGeometry(page_size, window)
    for position in range(100):
        seen = [key for key in range(position + 1) if position - key < window]
        assert geometry.first_page(position) == seen[0] // page_size


@pytest.mark.parametrize("page_size", [1, 4, 16])
@pytest.mark.parametrize("window", [1, 3, 5, 16, 17])
@pytest.mark.parametrize("chunk", [1, 2, 7, 40])
def test_most_pages_bounds_every_chunk_of_a_run(page_size: int, window: int, chunk: int) -> None:
    geometry, tokens = PageGeometry(page_size, window), 90
    held = []
    for start in range(0, tokens, chunk):
        end = min(start + chunk, tokens)
        held.append(geometry.pages_for(end) - geometry.first_page(start))
    assert max(held) <= geometry.most_pages(tokens, chunk)
    assert geometry.most_pages(tokens, chunk) <= geometry.pages_for(tokens)


def test_full_attention_keeps_everything() -> None:
    geometry = PageGeometry(16, None)
    assert geometry.first_page(1000) == 0
    assert (geometry.pages_for(16), geometry.pages_for(17), geometry.most_pages(33, 4)) == (1, 2, 3)
