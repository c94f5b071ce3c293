"""Paged attention for TPUs in Pallas: ragged paged attention (arXiv 2604.15464), for the fused pool layout.

Three kernels: decodes (one token a sequence; it also writes their rows), the rows of chunks into their pages, and the
attention of chunks. The last two run only in steps that have chunks, in this order, so that no page is read before it
is written.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from pallas_kernels.paged_attention.config import TpuConfig
from pallas_kernels.paged_attention.layout import LANES, PoolLayout, fuse, row_half
from pallas_kernels.paged_attention.mosaic_tpu.attend import attend
from pallas_kernels.paged_attention.mosaic_tpu.fetch import Plan
from pallas_kernels.paged_attention.mosaic_tpu.refs import Geometry, sublanes
from pallas_kernels.paged_attention.mosaic_tpu.write import write_chunks, write_plan
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences

CONFIG = TpuConfig()


def paged_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pool: jax.Array,
    layer: jax.Array,
    sequences: Sequences,
    *,
    score: ScoreMod,
    alibi_slopes: jax.Array | None,
    sinks: jax.Array | None,
    decodes_only: bool = False,
    layout: PoolLayout,
    config: TpuConfig = CONFIG,
) -> tuple[jax.Array, jax.Array]:
    """See api.paged_attention. Raises NotImplementedError for what the kernels cannot take."""
    _refuse(q, pool, layout)
    rows = fuse(k, v).astype(pool.dtype)  # [t, hkv, 2 * half]
    distribution = sequences.distribution
    scalars = (jnp.asarray(layer, jnp.int32).reshape(1), distribution, sequences.kv_lens, sequences.cu_q_lens)
    table = _in_lanes(sequences.page_table)
    shared = (scalars, alibi_slopes, sinks, q, rows, table)
    out, pool = _decodes(config, score, pool, *shared)
    if len(q) == 1:
        return out, pool
    return lax.cond(
        distribution[2] > distribution[0],
        lambda out, pool: _chunks(config, score, out, pool, *shared),
        lambda out, pool: (out, pool),
        out,
        pool,
    )


def _decodes(
    config: TpuConfig,
    score: ScoreMod,
    pool: jax.Array,
    scalars: tuple[jax.Array, ...],
    slopes: jax.Array | None,
    sinks: jax.Array | None,
    q: jax.Array,
    rows: jax.Array,
    table: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Outputs of the decodes, 0 for other tokens, and the pool with the decodes' rows."""
    decodes = scalars[1][0]
    tiles = min(config.decode_tiles, len(q))
    g = _geometry(q, pool, config, score, tile=1, tiles=tiles, head_unroll=config.decode_head_unroll)
    rows = jnp.pad(rows, ((0, -len(rows) % tiles), (0, 0), (0, 0)))
    out, pool = attend(g, scalars, decodes, slopes, sinks, _to_tiles(g, q), rows, table, pool)
    return _keep(_from_tiles(g, out, q), 0, decodes), pool


def _chunks(
    config: TpuConfig,
    score: ScoreMod,
    out: jax.Array,
    pool: jax.Array,
    scalars: tuple[jax.Array, ...],
    slopes: jax.Array | None,
    sinks: jax.Array | None,
    q: jax.Array,
    rows: jax.Array,
    table: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """`out` with the outputs of the chunks, and the pool with the chunks' rows."""
    distribution, cu_q_lens = scalars[1], scalars[3]
    plan = write_plan(pool.shape[3], config.write_block, config.buffers)
    pool = write_chunks(plan, scalars, rows.swapaxes(0, 1), table, pool, config.vmem_limit)
    tile = config.tile_tokens(q.shape[1] // pool.shape[2])
    g = _geometry(q, pool, config, score, tile=tile, tiles=1, head_unroll=config.chunk_head_unroll)
    end = cu_q_lens[distribution[2]]
    chunks, _ = attend(g, scalars, pl.cdiv(end, tile), slopes, sinks, _to_tiles(g, q), None, table, pool)
    return out + _keep(_from_tiles(g, chunks, q), distribution[0], end), pool


def _keep(out: jax.Array, begin: jax.Array | int, end: jax.Array) -> jax.Array:
    """out [t, hq, d] of tokens begin:end, 0 for others."""
    token = jnp.arange(len(out), dtype=jnp.int32)
    return jnp.where(((token >= begin) & (token < end))[:, None, None], out, jnp.zeros_like(out))


def _refuse(q: jax.Array, pool: jax.Array, layout: PoolLayout) -> None:
    if not layout.fused:
        raise NotImplementedError(f"the TPU kernels read fused rows, not layout {layout.name}")
    if q.dtype not in (jnp.bfloat16, jnp.float32):
        raise NotImplementedError(f"the TPU kernels compute in bfloat16 or float32, not {q.dtype}")
    page, aligned = pool.shape[3], sublanes(pool.dtype)
    if page % aligned or page & (page - 1):
        raise NotImplementedError(f"a page of {page} slots is no power of two of at least {aligned} ({pool.dtype})")


def _geometry(
    q: jax.Array, pool: jax.Array, config: TpuConfig, score: ScoreMod, *, tile: int, tiles: int, head_unroll: int
) -> Geometry:
    kv_heads, page, width = pool.shape[2:]
    return Geometry(
        plan=Plan(
            tile=tile,
            page=page,
            block=config.block_tokens(page, kv_heads * width * pool.dtype.itemsize),
            buffers=config.buffers,
            chunks=tile > 1,
            old=True,
            window=score.window,
        ),
        kv_heads=kv_heads,
        group=q.shape[1] // kv_heads,
        tiles=tiles,
        half=row_half(q.shape[2]),
        head_unroll=head_unroll,
        vmem_limit=config.vmem_limit,
        score=score,
    )


def _to_tiles(g: Geometry, q: jax.Array) -> jax.Array:
    """[t, hq, d] -> [tiles, hkv, group * tile, lanes], zeros where padded; whole grid steps."""
    tokens, _, head_dim = q.shape
    q = jnp.pad(q, ((0, -tokens % (g.tiles * g.plan.tile)), (0, 0), (0, g.lanes - head_dim)))
    q = q.reshape(-1, g.plan.tile, g.kv_heads, g.group, g.lanes).transpose(0, 2, 3, 1, 4)
    return q.reshape(-1, g.kv_heads, g.rows, g.lanes)


def _from_tiles(g: Geometry, out: jax.Array, q: jax.Array) -> jax.Array:
    """Outputs in tiles -> the shape of q, the lanes that held values."""
    tokens, q_heads, head_dim = q.shape
    first = g.half if g.half < LANES else 0
    out = out[..., first : first + head_dim].reshape(-1, g.kv_heads, g.group, g.plan.tile, head_dim)
    return out.transpose(0, 3, 1, 2, 4).reshape(-1, q_heads, head_dim)[:tokens]


def _in_lanes(page_table: jax.Array) -> jax.Array:
    """[s, p] -> [s, c, 128]: a sequence's row is one copy of whole registers to scalar memory."""
    sequences, pages = page_table.shape
    return jnp.pad(page_table, ((0, 0), (0, -pages % LANES))).reshape(sequences, -1, LANES)
