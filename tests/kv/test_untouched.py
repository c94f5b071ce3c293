"""What the pool does not use is not resident."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.kv.untouched import release_zeros

SIZE = 96 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its memory")
def test_zeros_give_their_memory_back_and_stay_zeros() -> None:
    before = resident()
    pool = jax.jit(lambda: jnp.zeros(SIZE // 4, jnp.int32))()
    pool.block_until_ready()
    assert resident() - before > SIZE // 2
    release_zeros(pool)
    assert resident() - before < SIZE // 4
    pool = jax.jit(lambda pool: pool.at[jnp.array([0, 12345, -1])].set(7), donate_argnums=0)(pool)
    pool.block_until_ready()
    assert resident() - before < SIZE // 4
    content = np.asarray(pool)
    assert np.flatnonzero(content).tolist() == [0, 12345, SIZE // 4 - 1]


def test_arrays_that_are_smaller_than_a_page_are_left_alone() -> None:
    small = jnp.zeros(3)
    release_zeros(small)
    assert small.tolist() == [0, 0, 0]
