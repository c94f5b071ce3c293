"""Latent attention of a decode step, absorbed over latent rows, beside the same model with a key and value per head.

    python scripts/bench_latent.py [ROWS] [LENGTH]

Milliseconds a layer, medians, of the step's attention with the products that bring queries and values to and from the
latents' space, or the new token's latent to every head.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jaxpaged.layers.cache_op import LayerPages
from jaxpaged.layers.latent_attention import LatentOp
from jaxpaged.models.latent import LatentAttention
from pallas_kernels.paged_attention import ScoreMod, Sequences, paged_attention, pool_layout

PAGE, TRIES = 32, 15
LAYER = jnp.int32(0)
MODELS = {
    "MiniCPM3-4B": LatentAttention(40, 256, 64, 32, 64, 96**-0.5, None),
    "DeepSeek-V2-Lite": LatentAttention(16, 512, 128, 64, 128, 192**-0.5, None),
}


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(len(shape)), shape, jnp.bfloat16)


def decodes(rows: int, length: int) -> Sequences:
    """`rows` sequences of `length` tokens, the last one new; page 0 is free."""
    pages = -(-length // PAGE)
    table = 1 + np.arange(rows * pages, dtype=np.int32).reshape(rows, pages)
    cu_q_lens = np.arange(rows + 1, dtype=np.int32)
    kinds = np.full(3, rows, np.int32)
    return Sequences(*map(jnp.asarray, (table, np.full(rows, length, np.int32), cu_q_lens, kinds)))


def milliseconds(step: Callable[..., tuple[jax.Array, jax.Array]], pool: jax.Array, *arrays: jax.Array) -> float:
    program, times = jax.jit(step, donate_argnums=0), []
    for _ in range(TRIES):
        start = time.perf_counter()
        out, pool = program(pool, *arrays)
        out.block_until_ready()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def absorbed(part: LatentAttention, sequences: Sequences) -> float:
    rows, pages = sequences.kv_lens.size, 1 + sequences.page_table.size
    kv_b = noise(part.heads, part.nope_dim + part.value_dim, part.kv_rank)

    def step(pool: jax.Array, q: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        return LatentOp(part).paged(LayerPages(PAGE, pool, LAYER, sequences), q, row, kv_b)

    return milliseconds(
        step, noise(1, pages, PAGE, part.row), noise(rows, part.heads, part.key_dim), noise(rows, part.row)
    )


def per_head(part: LatentAttention, sequences: Sequences) -> float:
    rows, pages, layout = sequences.kv_lens.size, 1 + sequences.page_table.size, pool_layout("cpu")
    kv_b = noise(part.heads, part.nope_dim + part.value_dim, part.kv_rank)
    shape = layout.shape(layers=1, pages=pages, page_size=PAGE, kv_heads=part.heads, head_dim=part.key_dim)

    def step(pool: jax.Array, q: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        both = jnp.einsum("tr,hdr->thd", row[:, : part.kv_rank], kv_b)
        shared = jnp.broadcast_to(row[:, None, part.kv_rank :], (*both.shape[:2], part.rope_dim))
        k = jnp.concatenate([both[..., : part.nope_dim], shared], axis=-1)
        v = jnp.pad(both[..., part.nope_dim :], [(0, 0), (0, 0), (0, part.key_dim - part.value_dim)])
        return paged_attention(q, k, v, pool, LAYER, sequences, score=ScoreMod(part.scale), layout=layout)

    return milliseconds(step, noise(*shape), noise(rows, part.heads, part.key_dim), noise(rows, part.row))


def main() -> None:
    given = sys.argv[1:3]
    rows, length = map(int, given + ["32", "1024"][len(given) :])
    sequences = decodes(rows, length)
    for name, part in MODELS.items():
        per_token = part.heads * (part.key_dim + part.value_dim)
        print(f"{name}: {rows} rows of {length}; elements a token {part.row} and {per_token}")
        print(f"  absorbed {absorbed(part, sequences):.2f} ms, per head {per_head(part, sequences):.2f} ms", flush=True)


if __name__ == "__main__":
    main()
