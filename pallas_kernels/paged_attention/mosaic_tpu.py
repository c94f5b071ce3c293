"""Paged attention for TPUs in Pallas: ragged paged attention (arXiv 2604.15464), for the fused pool layout.

Three kernels, each without work when the step has none for it: decodes (one token a sequence, which also write their
rows), the rows of chunks into their pages, and the attention of chunks. The second and third wait for each other
through the pool, so no page is read before it is written.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pallas_kernels.paged_attention.config import TpuConfig
from pallas_kernels.paged_attention.layout import LANES, PoolLayout, fuse, row_half
from pallas_kernels.paged_attention.mosaic_tpu_attend import Geometry, attend, sublanes
from pallas_kernels.paged_attention.mosaic_tpu_write import page_writes, write_chunks
from pallas_kernels.paged_attention.score import ScoreMod

CONFIG = TpuConfig()


def paged_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    page_table: jax.Array,
    kv_lens: jax.Array,
    cu_q_lens: jax.Array,
    distribution: jax.Array,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None,
    sinks: jax.Array | None,
    layout: PoolLayout,
    config: TpuConfig = CONFIG,
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention. Raises NotImplementedError for what the kernels cannot take."""
    _refuse(q, pool, layout)
    tokens, q_heads, head_dim = q.shape
    rows = fuse(k, v).astype(pool.dtype)  # [t, hkv, 2 * half]
    layer = jnp.asarray(layer, jnp.int32).reshape(1)
    ids = _in_lanes(page_table)
    per_head = [jnp.zeros(q_heads, jnp.float32) if x is None else x for x in (alibi_slopes, sinks)]
    flags = {"score": score, "alibi": alibi_slopes is not None, "sinks": sinks is not None}

    g = _decode_geometry(q, pool, config, **flags)
    singles = min(tokens, kv_lens.shape[0])
    singles_padded = -(-singles // g.tiles) * g.tiles
    new = jnp.pad(rows[:singles, :, None], ((0, singles_padded - singles), (0, 0), (0, 0), (0, 0)))
    bounds = jnp.stack([jnp.zeros_like(distribution[0]), distribution[0]])
    tiled = _to_tiles(g, q[:singles])
    out, pool = attend(g, layer, bounds, kv_lens, cu_q_lens, *per_head, tiled, new, ids, pool)
    out = _from_tiles(g, out, singles, q_heads, head_dim)
    out = jnp.pad(out, ((0, tokens - singles), (0, 0), (0, 0)))
    is_single = jnp.arange(tokens, dtype=jnp.int32) < distribution[0]
    if tokens == 1:
        return jnp.where(is_single[:, None, None], out, jnp.zeros_like(out)), pool

    writes = page_writes(tokens, page_table, kv_lens, cu_q_lens, distribution, g.page)
    pool = write_chunks(pool, layer, rows.swapaxes(0, 1), writes, config.vmem_limit)
    g = _chunk_geometry(q, pool, config, **flags)
    bounds = jnp.stack([distribution[0], distribution[2]])
    chunks, _ = attend(g, layer, bounds, kv_lens, cu_q_lens, *per_head, _to_tiles(g, q), None, ids, pool)
    chunks = _from_tiles(g, chunks, tokens, q_heads, head_dim)
    is_token = jnp.arange(tokens, dtype=jnp.int32) < cu_q_lens[distribution[2]]
    chunks = jnp.where(is_token[:, None, None], chunks, jnp.zeros_like(chunks))
    return jnp.where(is_single[:, None, None], out, chunks), pool


def _refuse(q: jax.Array, pool: jax.Array, layout: PoolLayout) -> None:
    if not layout.fused:
        raise NotImplementedError(f"the TPU kernels read fused rows, not layout {layout.name}")
    if q.dtype not in (jnp.bfloat16, jnp.float32):
        raise NotImplementedError(f"the TPU kernels compute in bfloat16 or float32, not {q.dtype}")
    page, aligned = pool.shape[3], sublanes(pool.dtype)
    if page % aligned or page & (page - 1):
        raise NotImplementedError(f"a page of {page} slots is no power of two of at least {aligned} ({pool.dtype})")


def _decode_geometry(q: jax.Array, pool: jax.Array, config: TpuConfig, **flags) -> Geometry:
    """Each token's query heads fill whole registers."""
    aligned = sublanes(q.dtype)
    group = -(-q.shape[1] // pool.shape[2] // aligned) * aligned
    tiles = min(config.decode_tiles, q.shape[0])
    return _geometry(q, pool, config, group, 1, tiles, config.decode_head_unroll, writes=True, **flags)


def _chunk_geometry(q: jax.Array, pool: jax.Array, config: TpuConfig, **flags) -> Geometry:
    group = q.shape[1] // pool.shape[2]
    tokens = config.tile_tokens(group)
    return _geometry(q, pool, config, group, tokens, 1, config.chunk_head_unroll, writes=False, **flags)


def _geometry(
    q: jax.Array,
    pool: jax.Array,
    config: TpuConfig,
    group: int,
    tokens: int,
    tiles: int,
    head_unroll: int,
    **rest,
) -> Geometry:
    kv_heads, page, width = pool.shape[2:]
    return Geometry(
        kv_heads=kv_heads,
        group=group,
        tokens=tokens,
        tiles=tiles,
        page=page,
        block=config.block_tokens(page, kv_heads * width * pool.dtype.itemsize),
        buffers=config.buffers,
        half=row_half(q.shape[2]),
        head_unroll=head_unroll,
        vmem_limit=config.vmem_limit,
        **rest,
    )


def _to_tiles(g: Geometry, q: jax.Array) -> jax.Array:
    """[t, hq, d] -> [tiles, hkv, group * tokens, lanes], zeros where padded."""
    tokens, q_heads, head_dim = q.shape
    step = g.tiles * g.tokens
    q = q.reshape(tokens, g.kv_heads, q_heads // g.kv_heads, head_dim)
    padding = (-tokens % step, 0, g.group - q.shape[2], g.lanes - head_dim)
    q = jnp.pad(q, [(0, n) for n in padding])
    q = q.reshape(-1, g.tokens, g.kv_heads, g.group, g.lanes).transpose(0, 2, 3, 1, 4)
    return q.reshape(-1, g.kv_heads, g.rows, g.lanes)


def _from_tiles(g: Geometry, out: jax.Array, tokens: int, q_heads: int, head_dim: int) -> jax.Array:
    """The inverse of _to_tiles, of the lanes that held values."""
    first = g.half if g.half < LANES else 0
    out = out[..., first : first + head_dim].reshape(-1, g.kv_heads, g.group, g.tokens, head_dim)
    out = out.transpose(0, 3, 1, 2, 4).reshape(-1, g.kv_heads, g.group, head_dim)
    return out[:tokens, :, : q_heads // g.kv_heads].reshape(tokens, q_heads, head_dim)


def _in_lanes(page_table: jax.Array) -> jax.Array:
    """[s, p] -> [s, c, 128]: a sequence's row is one copy of whole registers to scalar memory."""
    sequences, pages = page_table.shape
    return jnp.pad(page_table, ((0, 0), (0, -pages % LANES))).reshape(sequences, -1, LANES)
