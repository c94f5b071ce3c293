"""The kernels inside of the op are found with their operands, whatever stands around them. Nothing is computed."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.interpreters import partial_eval as pe

from gpu.kernel_calls import KERNEL, kernel_calls
from gpu.kernel_times import REPEATS, repeated
from pallas_kernels.paged_attention import paged_attention, pool_layout
from pallas_kernels.paged_attention.example_batches import Batch, make
from pallas_kernels.paged_attention.example_specs import BY_NAME

HOPPER = pool_layout("hopper")


@pytest.mark.parametrize("conditional", [False, True])
def test_each_kernel_with_its_operands(conditional: bool) -> None:
    spec = BY_NAME["gqa4_page16"]
    arrays = make(spec, Batch(((40, 1), (20, 9))), HOPPER, jnp.dtype("bfloat16"))
    attend = jax.jit(partial(paged_attention, score=spec.score, layout=HOPPER))

    def program(*args):
        if not conditional:
            return attend(*args)
        return lax.cond(args[5].distribution[0] > 0, lambda: attend(*args), lambda: attend(*args))

    calls, operands = kernel_calls(program, *arrays.args)
    given = jax.eval_shape(operands, *arrays.args)
    for call, one in zip(calls, given, strict=True):
        lowered = jax.make_jaxpr(partial(repeated, call))(one, jax.ShapeDtypeStruct((), jnp.int32))
        # The chain of runs is not cut: the last one needs all before it.
        assert str(pe.dce_jaxpr(lowered.jaxpr, [True] * len(lowered.out_avals))[0]).count(KERNEL) == REPEATS
    shapes = [jax.eval_shape(call.call, *one) for call, one in zip(calls, given, strict=True)]
    assert [call.name for call in calls] == ["decode", "merge", "chunk"]
    merged, rows = shapes[-2][0], shapes[-1][0]
    assert merged.dtype == rows.dtype == jnp.bfloat16
    assert rows.shape[-1] == 64
    assert all(one.shape for one in shapes[0])
