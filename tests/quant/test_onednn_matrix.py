"""A weight in oneDNN's order, and oneDNN's product with it, which float32 has on any x86-64 with AVX2."""

import jax
import numpy as np
import pytest

from jaxpaged.execution.compiler import nothing_cached
from jaxpaged.quant.onednn.machine import can_try, cpu_description
from jaxpaged.quant.onednn.matrix import KINDS, Matrix
from jaxpaged.quant.onednn.trial import Trial, passed

needs_onednn = pytest.mark.skipif(not can_try("float32", cpu_description()), reason="a CPU without AVX2")
RNG = np.random.default_rng(5)


def weight_of(matrix: Matrix) -> np.ndarray:
    values = RNG.integers(-127, 128, (matrix.outputs, matrix.inputs))
    return np.asarray(jax.numpy.asarray(values, matrix.dtype))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(("outputs", "inputs", "block"), [(64, 64, 64), (192, 128, 16), (100, 70, 64), (180, 33, 48)])
def test_each_weight_lies_where_onednn_looks_for_it(dtype: str, outputs: int, inputs: int, block: int) -> None:
    matrix = Matrix(outputs, inputs, dtype, block)
    weight, group = weight_of(matrix), KINDS[dtype].group
    packed = np.asarray(jax.jit(matrix.pack)(weight))
    assert packed.shape == (matrix.size,)
    for output, column in RNG.integers(0, (outputs, inputs), (50, 2)):
        place = (output // block * matrix.padded[1] // group + column // group) * block + output % block
        assert packed[place * group + column % group] == weight[output, column]
    values = packed[: matrix.padded[0] * matrix.padded[1]].astype(np.int64)
    assert np.abs(values).sum() == np.abs(weight.astype(np.int64)).sum(), "padding is not zero"


def test_int8_values_are_followed_by_what_onednn_takes_off_their_sums() -> None:
    matrix = Matrix(70, 64, "int8")
    weight = weight_of(matrix)
    tail = np.asarray(jax.jit(matrix.pack)(weight))[128 * 64 :].view(np.int32)
    np.testing.assert_array_equal(tail[:70], -128 * weight.astype(np.int32).sum(1))
    assert not tail[70:].any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_are_found_by_their_number(dtype: str) -> None:
    matrix = Matrix(180, 40, dtype, block=48)
    weight = weight_of(matrix)
    found = jax.jit(matrix.rows)(jax.jit(matrix.pack)(weight), np.asarray([0, 7, matrix.outputs - 1, 5000, -3]))
    np.testing.assert_array_equal(np.asarray(found), weight[[0, 7, matrix.outputs - 1, matrix.outputs - 1, 0]])


@needs_onednn
@pytest.mark.parametrize(("outputs", "inputs"), [(128, 96), (100, 40)])
def test_products_are_right_and_a_row_has_the_same_bits_in_any_company(outputs: int, inputs: int) -> None:
    weight = RNG.standard_normal((outputs, inputs), np.float32)
    x = RNG.standard_normal((33, inputs), np.float32)
    with nothing_cached():
        (matrix,) = passed(Trial((Matrix(outputs, inputs, "float32"),), (8,)))
        packed = jax.jit(matrix.pack)(weight)
        whole = np.asarray(jax.jit(matrix.dot)(x, packed))
        parts = {rows: np.asarray(jax.jit(matrix.dot)(x[:rows], packed)) for rows in (1, 2, 8)}
    np.testing.assert_allclose(whole, x.astype(np.float64) @ weight.T.astype(np.float64), rtol=2e-5, atol=2e-5)
    for rows, part in parts.items():
        np.testing.assert_array_equal(part, whole[:rows])
