"""Whether the oneDNN of this jaxlib multiplies certain matrices right on this machine, tried in a child process.

oneDNN may refuse a dtype by ending the process, and says nowhere in which blocks it wants a matrix, so both are tried:
values against a plain product, then that a row's bits do not depend on how many rows there are or on what they hold.

    python -m jaxpaged.quant.onednn.trial < a Trial as JSON      the child: prints the Matrix objects that pass
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxpaged.quant.onednn.matrix import BLOCKS, FEWEST_ROWS, KINDS, Matrix

Dot = Callable[[Matrix, Array, Array], Array]
FEW = 8  # rows whose values are compared
TOLERANCE = 1e-4  # of the largest value: another order of additions, not other weights


@dataclass(frozen=True, slots=True)
class Trial:
    """The matrices to try, in any block, and the numbers of rows that programs have.

    devices: CPU devices of the process that will multiply; the block depends on its number of threads.
    """

    matrices: tuple[Matrix, ...]
    rows: tuple[int, ...]
    devices: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Trial:
        fields = json.loads(text)
        return cls(tuple(Matrix(**each) for each in fields["matrices"]), tuple(fields["rows"]), fields["devices"])


def passed(trial: Trial, dot: Dot = Matrix.dot) -> list[Matrix]:
    """The matrices that `dot` multiplies right, each in the block that it takes."""
    found = (_fitting(matrix, trial.rows, dot) for matrix in trial.matrices)
    return [matrix for matrix in found if matrix is not None]


def _fitting(matrix: Matrix, rows: Sequence[int], dot: Dot) -> Matrix | None:
    random = np.random.default_rng(0)
    weight = _random(random, (matrix.outputs, matrix.inputs), matrix.dtype)
    x = _random(random, (max(*rows, FEW), matrix.inputs), matrix.dtype)
    wanted = np.asarray(_plain(x[:FEW], weight, matrix), np.float64)
    for block in BLOCKS:
        candidate = replace(matrix, block=block)
        if matrix.padded[0] % block:
            continue
        packed = jax.jit(candidate.pack)(weight)
        got = np.asarray(jax.jit(partial(dot, candidate))(x[:FEW], packed), np.float64)
        if np.abs(got - wanted).max() <= TOLERANCE * np.abs(wanted).max():
            return candidate if _independent(partial(dot, candidate), packed, x, {FEW, *rows}) else None
    return None


def _independent(dot: Callable[[Array, Array], Array], packed: Array, x: Array, sizes: Iterable[int]) -> bool:
    """Whether the first rows' bits are the same in every number of rows, and beside rows of other values, NaN too."""
    first = slice(0, FEWEST_ROWS)
    run = jax.jit(dot)
    few = np.asarray(run(x[first], packed))
    beside = x[:FEW].at[FEWEST_ROWS:].set(jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else 1)
    batches = (beside, *(x[:size] for size in sizes))
    return all(np.array_equal(np.asarray(run(batch, packed))[first], few) for batch in batches)


def _random(random: np.random.Generator, shape: tuple[int, int], dtype: str) -> Array:
    if dtype == "int8":
        return jnp.asarray(random.integers(-127, 128, shape), jnp.int8)
    return jnp.asarray(random.standard_normal(shape, dtype=np.float32), jnp.dtype(dtype))


def _plain(x: Array, weight: Array, matrix: Matrix) -> Array:
    contracted = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, weight, contracted, preferred_element_type=KINDS[matrix.dtype].accumulator)


def main() -> None:
    trial = Trial.from_json(sys.stdin.read())
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", trial.devices)
    jax.config.update("jax_enable_compilation_cache", False)  # such programs cannot be serialised
    print(json.dumps([asdict(matrix) for matrix in passed(trial)]))


if __name__ == "__main__":
    main()
