"""oneDNN is tried before it is trusted: in a child process, and what was found is kept."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import Array

from jaxpaged.quant.onednn.machine import can_try, cpu_description, why_not
from jaxpaged.quant.onednn.matrix import Matrix
from jaxpaged.quant.onednn.trial import Trial, passed
from jaxpaged.quant.onednn.trial_run import TrialFailed, try_matrices

CPU = "AMD EPYC avx2 fma"
SMALL = Matrix(128, 64, "float32")
TRIAL = Trial((SMALL, Matrix(192, 96, "float32")), (8, 16))
NEVER = (sys.executable, "-c", "raise SystemExit(9)")


def plain(matrix: Matrix, x: Array, packed: Array) -> Array:
    """A right product with weights in blocks of 32."""
    outputs, inputs = matrix.padded
    blocks = packed.reshape(outputs // 32, inputs, 32).transpose(0, 2, 1).reshape(outputs, inputs)
    return jnp.pad(x, ((0, 0), (0, inputs - matrix.inputs))) @ blocks.T


def test_the_block_that_gives_right_values_is_found() -> None:
    assert passed(Trial((SMALL,), (8, 16)), plain) == [replace(SMALL, block=32)]


@pytest.mark.parametrize("fault", ["values", "rows", "mates"])
def test_a_product_that_is_wrong_in_any_way_is_not_used(fault: str) -> None:
    def dot(matrix: Matrix, x: Array, packed: Array) -> Array:
        right = plain(matrix, x, packed)
        if fault == "values":
            return right * 1.01
        if fault == "rows":
            return right * (1.0 + 1e-6 * (len(x) == 16))
        return right + 0.0 * x[-1, 0]

    assert passed(Trial((SMALL,), (8, 16)), dot) == []


@pytest.mark.skipif(not can_try("float32", cpu_description()), reason="a CPU without AVX2")
def test_a_child_finds_them_and_its_verdict_is_kept(tmp_path: Path) -> None:
    found = try_matrices(TRIAL, CPU, tmp_path)
    assert [replace(matrix, block=64) for matrix in found] == list(TRIAL.matrices)
    assert try_matrices(TRIAL, CPU, tmp_path, NEVER) == found
    with pytest.raises(TrialFailed, match="status 9"):
        try_matrices(TRIAL, f"{CPU} avx512f", tmp_path, NEVER)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-5])
    with pytest.raises(TrialFailed, match="status 9"):
        try_matrices(TRIAL, CPU, tmp_path, NEVER)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "status -6"),
        ("print('no oneDNN here')", "no verdict"),
        ("print('[{\"outputs\": 3}]')", "no verdict"),
    ],
)
def test_a_child_without_a_verdict_is_a_reason(tmp_path: Path, code: str, reason: str) -> None:
    with pytest.raises(TrialFailed, match=reason):
        try_matrices(TRIAL, CPU, tmp_path, (sys.executable, "-c", code))
    assert not list(tmp_path.iterdir())


def test_a_verdict_that_cannot_be_kept_is_still_one() -> None:
    shown = f"print({json.dumps([asdict(SMALL)])!r})"
    assert try_matrices(TRIAL, CPU, Path("/nowhere"), (sys.executable, "-c", shown)) == [SMALL]


def test_a_machine_that_is_not_tried_says_why() -> None:
    assert why_not(frozenset({"float32", "bfloat16"}), CPU) is None
    assert "AVX512-BF16 for bfloat16" in (why_not(frozenset({"bfloat16"}), CPU) or "")
    assert can_try("bfloat16", "Zen 5 avx2 avx512_bf16")
    assert not can_try("float16", "Zen 5 avx2 avx512_bf16")
    assert not can_try("bfloat16", CPU)
