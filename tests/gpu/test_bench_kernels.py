"""The benchmark of kernels for a GPU, from end to end on small shapes; and that it sees mistakes."""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gpu.attention import bench_attention, table
from gpu.attention_cases import CASES, QUICK_CASES, Arrays, Case, make_arrays
from gpu.attention_check import LIMIT, compare, draw
from gpu.attention_program import compile_layers
from gpu.report import Report
from pallas_kernels.paged_attention import pool_layout

CPU = pool_layout("cpu")


def test_the_quick_run_checks_and_times_every_case(tmp_path: Path) -> None:
    path = tmp_path / "out" / "kernels.json"
    assert bench_attention(Report("a test", path), quick=True, implementation=None)
    figures = json.loads(path.read_text())
    assert figures["ceilings"]["copy"] > 0
    assert figures["ceilings"]["matmul"] > 0
    assert [row["case"] for row in figures["attention"]] == [case.name for case in QUICK_CASES]
    for row in figures["attention"]:
        assert 0 < row["rounding"] <= row["error"] < LIMIT
        assert 0 < row["best_ms"] <= row["ms"] <= row["worst_ms"]
        assert row["cudnn"] == {"skipped": "cuDNN needs an NVIDIA GPU"}
        assert row["torch"]["skipped"]
    assert len(table(figures["attention"])) == 2 + len(QUICK_CASES)


@pytest.fixture(params=QUICK_CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return replace(request.param, layers=1)


def test_it_sees_a_wrong_row_a_missing_element_and_a_key_that_is_not_read(case: Case) -> None:
    arrays = make_arrays(case, CPU, seed=5)
    sample = draw(case, CPU, arrays, seed=5)
    spoilt = _with_a_page_read_twice(case, arrays)
    short = draw(case, CPU, spoilt, seed=5) if case.decode else None
    (out,), _ = compile_layers(case, CPU, arrays, "reference")(arrays.pool, arrays.new, arrays.sequences)
    assert compare(sample, out).problem == ""
    unsampled = int(np.setdiff1d(np.arange(case.tokens), sample.rows, assume_unique=True)[0]) if not case.decode else 0
    assert "not finite" in compare(sample, out.at[unsampled, -1, -1].set(jnp.nan)).problem
    assert "relative error" in compare(sample, out.at[int(sample.rows[0])].set(0)).problem
    assert "relative error" in compare(replace(sample, exact=sample.exact[:, ::-1]), out).problem
    if short is not None:
        assert "relative error" in compare(short, out).problem


def _with_a_page_read_twice(case: Case, arrays: Arrays) -> Arrays:
    """The first page of every sequence stands for its second too."""
    table = arrays.sequences.page_table
    swapped = jnp.concatenate([table[:, :1], table[:, :1], table[:, 2:]], axis=1)
    return arrays._replace(sequences=arrays.sequences._replace(page_table=swapped))


def test_free_pages_and_unwritten_slots_are_poisoned_and_held_ones_are_not() -> None:
    case = QUICK_CASES[0]
    arrays = make_arrays(case, CPU, seed=1)
    table, kv_lens, cu_q_lens, distribution = (np.asarray(x) for x in arrays.sequences)
    numbers = np.isfinite(np.asarray(arrays.pool, np.float32)).all(axis=(0, 2, 3, 5))  # [page, slot]
    for row in table:
        assert numbers[row[: case.pages]].reshape(-1).tolist() == [i < case.length for i in range(case.context)]
        assert not numbers[row[case.pages :]].any()
    assert not numbers[0].any()
    assert len(np.unique(table[:, : case.pages])) == case.sequences * case.pages
    assert kv_lens.tolist() == [case.length] * case.sequences
    assert (cu_q_lens.tolist(), distribution.tolist()) == ([0, 1, 2, 3], [3, 3, 3])


def test_bytes_and_operations_of_the_cases() -> None:
    decode, prefill = CASES[0], CASES[3]
    assert (decode.name, prefill.name) == ("decode 64 x 8k", "prefill 8k")
    assert decode.bytes == 64 * 8189 * 4096 + 2 * 64 * 32 * 128 * 2
    assert prefill.operations == 4 * 32 * 128 * 8192 * 8193 // 2
    pool = [case.layers * case.sequences * case.pages * case.page_size * 4096 for case in CASES if case.decode]
    assert min(pool) >= 2**31  # many times a cache of 60 MB
