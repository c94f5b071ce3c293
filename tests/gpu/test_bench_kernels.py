"""The cases of attention for a GPU: their arrays, and that the check against float64 sees mistakes."""

from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpu.attention_arrays import Arrays, make_arrays
from gpu.attention_cases import CASES, MORE_CASES, QUICK_CASES, QUICK_MORE_CASES, Case
from gpu.attention_check import compare, draw
from gpu.sizes import Sizes, attention_with
from gpu.sweep import VARIANTS
from gpu.task import Skip
from pallas_kernels.paged_attention import paged_attention, pool_layout
from pallas_kernels.paged_attention.config import ChunkConfig, DecodeConfig

CPU = pool_layout("cpu")
BY_NAME = {case.name: case for case in (*CASES, *MORE_CASES)}


@pytest.fixture(params=[QUICK_CASES[1], *QUICK_MORE_CASES], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return replace(request.param, layers=1)


def by_reference(case: Case, arrays: Arrays) -> jnp.ndarray:
    attend = jax.jit(partial(paged_attention, score=case.spec.score, layout=CPU, implementation="reference"))
    return attend(*arrays.new[-1], arrays.pool, jnp.int32(0), arrays.sequences, **arrays.options).out


def test_it_sees_a_wrong_row_a_missing_element_and_a_key_that_is_not_read(case: Case) -> None:
    arrays = make_arrays(case, CPU, seed=5)
    sample = draw(case, CPU, arrays, seed=5)
    out = by_reference(case, arrays)
    assert compare(sample, out).problem == ""
    assert "not finite" in compare(sample, out.at[case.new_tokens - 1, -1, -1].set(jnp.nan)).problem
    assert "relative error" in compare(sample, out.at[int(sample.rows[0])].set(0)).problem
    assert "relative error" in compare(replace(sample, exact=sample.exact[:, ::-1]), out).problem
    if case.decodes:
        short = draw(case, CPU, _with_a_page_read_twice(arrays), seed=5)
        assert "relative error" in compare(short, out).problem


def _with_a_page_read_twice(arrays: Arrays) -> Arrays:
    """The page before the last of every sequence stands for its last too."""
    table = np.array(arrays.sequences.page_table)
    table[:, 2] = table[:, 1]
    return arrays._replace(sequences=arrays.sequences._replace(page_table=jnp.asarray(table)))


def test_free_pages_and_unwritten_slots_are_poisoned_and_held_ones_are_not() -> None:
    case = QUICK_CASES[0]
    arrays = make_arrays(case, CPU, seed=1)
    table, kv_lens, cu_q_lens, distribution = (np.asarray(x) for x in arrays.sequences)
    numbers = np.isfinite(np.asarray(arrays.pool, np.float32)).all(axis=(0, 2, 3, 5))  # [page, slot]
    for row in table:
        assert numbers[row[:4]].reshape(-1).tolist() == [i < 124 for i in range(128)]
        assert not numbers[row[4:]].any()
    assert not numbers[0].any()
    assert len(np.unique(table[:, :4])) == 12
    assert kv_lens.tolist() == [125] * 3
    assert (cu_q_lens.tolist(), distribution.tolist()) == ([0, 1, 2, 3], [3, 3, 3])


def test_metadata_wider_than_the_batch() -> None:
    case = QUICK_CASES[1]
    table, kv_lens, cu_q_lens, distribution = (np.asarray(x) for x in make_arrays(case, CPU, seed=1).sequences)
    assert len(table) == case.width
    assert kv_lens.tolist() == [93, 93, 90, *[0] * 5]
    assert cu_q_lens.tolist() == [0, 1, 2, *[32] * 6]
    assert distribution.tolist() == [2, 3, 3]
    assert case.tokens == 40


def test_bytes_and_operations_of_the_cases() -> None:
    decode, prefill = BY_NAME["decode 64 x 8k"], BY_NAME["prefill 8k"]
    assert decode.bytes == 64 * 8189 * 4096 + 2 * 64 * 32 * 128 * 2
    assert prefill.operations == 4 * 32 * 128 * 8192 * 8193 // 2
    assert BY_NAME["decode 64 x 8k, float8"].bytes == 64 * 8189 * 2048 + 2 * 64 * 32 * 128 * 2
    window = BY_NAME["decode 64 x 8k, window 128, sinks"]
    assert window.operations == 4 * 64 * 64 * 64 * 128
    short = BY_NAME["prefill 4k, window 128, sinks"]
    assert short.operations == 4 * 64 * 64 * (128 * 129 // 2 + (4096 - 128) * 128)
    assert decode.floor(4e12, 8e14) == decode.bytes / 4e12
    assert prefill.floor(4e12, 8e14) == prefill.operations / 8e14
    assert sum(case.width == 256 for case in CASES) == 2
    mixed = BY_NAME["mixed 63 x 1k and 1,985 new, metadata 256 wide"]
    assert (mixed.decodes, mixed.tokens, mixed.decodes_only) == (63, 2048, False)
    assert decode.decodes_only


def test_a_size_that_no_config_has_is_skipped_and_the_others_are_taken() -> None:
    hopper = pool_layout("hopper")
    with pytest.raises(Skip, match="ChunkConfig has no colour"):
        attention_with(Sizes(chunk={"colour": 1}), hopper)
    with pytest.raises(Skip, match="layout gpu, without Hopper's kernels"):
        attention_with(Sizes(chunk={"tile": 64}), pool_layout("gpu"))
    known = {item.name for config in (ChunkConfig, DecodeConfig) for item in fields(config)}
    for sizes in VARIANTS.values():
        if {*sizes.decode, *sizes.chunk} <= known:
            assert attention_with(sizes, hopper)
    assert {"split", "blocks", "tile", "max_stages", "weights_in_registers"} <= known
