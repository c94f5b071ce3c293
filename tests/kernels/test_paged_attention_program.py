"""What a program of many layers looks like after compilation: the donated pool is updated in place."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from pallas_kernels.paged_attention import paged_attention, pool_layout
from pallas_kernels.paged_attention.example_batches import Batch, make
from pallas_kernels.paged_attention.example_specs import BY_NAME, Spec

LAYERS = 4
BATCH = Batch(((40, 1),) * 6 + ((0, 20), (33, 9)), sequences=32, tokens=64, pages=600, table_width=16, layers=LAYERS)


def attend_in_every_layer(spec: Spec, layout, pool, q, k, v, sequences):
    attend = partial(paged_attention, score=spec.score, layout=layout, implementation="xla")

    def layer(carry, index):
        x, pool = carry
        return attend(x, k, v, pool, index, sequences), None

    return lax.scan(layer, attend(q, k, v, pool, jnp.int32(0), sequences), jnp.arange(1, LAYERS, dtype=jnp.int32))[0]


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_scan_over_layers_does_not_copy_the_pool(dtype: str, backend: str) -> None:
    spec, layout = BY_NAME["gqa4_page16"], pool_layout(backend)
    q, k, v, pool, _, sequences = make(spec, BATCH, layout, jnp.dtype(dtype)).args
    run = jax.jit(partial(attend_in_every_layer, spec, layout), donate_argnums=0)
    compiled = run.lower(pool, q, k, v, sequences).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= pool.nbytes
    assert memory.temp_size_in_bytes < pool.nbytes // LAYERS // 2
    short = {"bfloat16": "bf16", "float32": "f32"}[dtype]
    shape = f"{short}[{','.join(map(str, pool.shape))}]"
    copies = [line for line in compiled.as_text().splitlines() if f"= {shape}" in line and " copy(" in line]
    assert copies == []
    _, after = compiled(pool, q, k, v, sequences)
    assert pool.is_deleted()
    assert jnp.isfinite(after.astype(jnp.float32)).all()
