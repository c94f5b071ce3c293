"""How the layers of a step reach what they keep in the pools: paged attention, and whatever else a mixer does there."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int32

from jaxpaged.kv.pool import PoolGeometry
from jaxpaged.layers.attention import LayerRef
from jaxpaged.layers.cache_op import CacheOp, LayerPages
from jaxpaged.layers.context import Place
from jaxpaged.sharding.rules import spec_of
from pallas_kernels.paged_attention import Sequences, paged_attention

DATA = PartitionSpec("data")
Pools = tuple[Array, ...]


@dataclass(frozen=True)
class PagedAttend:
    """The decoder's attention argument in a step; its state is the pools. See layers/attention.py and cache_op.py.

    Page tables by cache group; the other arrays as paged_attention takes them. Each has the data shard in front.
    """

    geometry: PoolGeometry
    page_tables: tuple[Array, ...]
    kv_lens: Int32[Array, "d s"]
    cu_q_lens: Int32[Array, "d s1"]
    distribution: Int32[Array, "d 3"]
    decodes_only: bool = False

    @property
    def mesh(self) -> Mesh:
        return self.geometry.mesh

    def is_token(self, rows: int) -> Bool[Array, "t"]:
        """Each shard's tokens come first among its rows."""
        counts = jnp.max(self.cu_q_lens, axis=1, keepdims=True)
        return (jnp.arange(rows // len(counts), dtype=jnp.int32)[None] < counts).reshape(-1)

    def __call__(self, pools: Pools, q: Array, k: Array, v: Array, layer: LayerRef) -> tuple[Pools, Array]:
        """Paged attention: heads over `model`, sequences and pages over `data`."""
        heads, per_head_spec = PartitionSpec("data", "model", None), PartitionSpec("model")
        pool_spec, layout = spec_of(self.geometry.layout.axes), self.geometry.layout
        maybe = {"alibi_slopes": layer.alibi_slopes, "sinks": layer.sinks}
        per_head = {name: value for name, value in maybe.items() if value is not None}

        def local(
            q: Array, k: Array, v: Array, pool: Array, index: Array, sequences: Sequences, per_head: dict[str, Array]
        ) -> tuple[Array, Array]:
            result = paged_attention(
                q,
                k,
                v,
                pool,
                index,
                Sequences(*(field[0] for field in sequences)),
                score=layer.score,
                layout=layout,
                alibi_slopes=per_head.get("alibi_slopes"),
                sinks=per_head.get("sinks"),
                decodes_only=self.decodes_only,
            )
            return result.out, result.pool

        sharded = jax.shard_map(
            local,
            mesh=self.geometry.mesh,
            in_specs=(heads, heads, heads, pool_spec, PartitionSpec(), DATA, per_head_spec),
            out_specs=(heads, pool_spec),
            check_vma=False,
        )
        out, pool = sharded(q, k, v, pools[layer.group], layer.index, self._sequences(layer.group), per_head)
        return _with(pools, layer.group, pool), out

    def apply(self, pools: Pools, place: Place, op: CacheOp, *arrays: Array) -> tuple[Pools, Array]:
        """A mixer's own operation on the pages of its layer, on the part of arrays and pages that each device has."""
        geometry = self.geometry
        pool_spec = geometry.array(place.group, 1).sharding.spec

        def local(pool: Array, index: Array, sequences: Sequences, *arrays: Array) -> tuple[Array, Array]:
            sequences = Sequences(*(field[0] for field in sequences))
            return op.paged(LayerPages(geometry.page_size, pool, index, sequences), *arrays)

        sharded = jax.shard_map(
            local,
            mesh=geometry.mesh,
            in_specs=(pool_spec, PartitionSpec(), DATA, *map(spec_of, op.inputs)),
            out_specs=(spec_of(op.output), pool_spec),
            check_vma=False,
        )
        out, pool = sharded(pools[place.group], place.index, self._sequences(place.group), *arrays)
        return _with(pools, place.group, pool), out

    def _sequences(self, group: int) -> Sequences:
        return Sequences(self.page_tables[group], self.kv_lens, self.cu_q_lens, self.distribution)


def _with(pools: Pools, group: int, pool: Array) -> Pools:
    return (*pools[:group], pool, *pools[group + 1 :])
