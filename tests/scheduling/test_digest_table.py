"""Digest -> page, whole arrays at a time."""

import numpy as np
import pytest

from jaxpaged.errors import InvariantError
from jaxpaged.scheduling.digest_table import DIGEST_BYTES, WAYS, DigestTable, as_digests


def digests(count: int, seed: int = 0) -> np.ndarray:
    return as_digests([np.random.default_rng(seed).bytes(DIGEST_BYTES * count)])


def test_finds_what_was_added_until_it_is_removed() -> None:
    table, keys = DigestTable(100), digests(60)
    table.add(np.arange(1, 61, dtype=np.int32), keys)
    assert table.find(keys).tolist() == list(range(1, 61))
    assert not table.find(digests(60, seed=1)).any()
    table.remove(np.arange(1, 31, dtype=np.int32))
    assert table.find(keys).tolist() == [0] * 30 + list(range(31, 61))
    table.check()
    table.clear()
    assert not table.find(keys).any()
    table.check()


def test_the_first_page_of_a_digest_stays() -> None:
    table, keys = DigestTable(100), digests(4)
    table.add(np.array([1, 2], np.int32), keys[:2])
    table.add(np.array([3, 4, 5, 6], np.int32), keys[[0, 2, 2, 3]])
    assert table.find(keys).tolist()[:2] == [1, 2]
    assert table.find(keys)[2] in (4, 5)
    assert np.flatnonzero(table.known).tolist() in ([1, 2, 4, 6], [1, 2, 5, 6])
    table.check()


def test_digests_that_differ_in_the_last_bit_only_are_not_confused() -> None:
    table, keys = DigestTable(100), digests(1).copy()
    table.add(np.array([7], np.int32), keys)
    keys[0, 3] ^= np.uint64(1 << 63)
    assert table.find(keys).tolist() == [0]


def test_a_full_set_keeps_what_it_has() -> None:
    table, keys = DigestTable(1000), digests(WAYS + 3).copy()
    keys[:, 0] = 5 + (np.arange(WAYS + 3, dtype=np.uint64) << np.uint64(40))  # the same set
    table.add(np.arange(1, WAYS + 4, dtype=np.int32), keys)
    assert np.count_nonzero(table.find(keys)) == WAYS
    table.check()


def test_holds_a_digest_for_nearly_every_page() -> None:
    table, keys = DigestTable(5000), digests(4999)
    table.add(np.arange(1, 5000, dtype=np.int32), keys)
    assert np.count_nonzero(table.find(keys)) > 0.99 * 4999
    table.check()


def test_check_notices_a_lost_place() -> None:
    table = DigestTable(100)
    table.add(np.array([1, 2], np.int32), digests(2))
    table.known[2] = False
    with pytest.raises(InvariantError, match="places"):
        table.check()
