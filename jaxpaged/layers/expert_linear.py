"""Linear maps of rows that are sorted by expert, with stored weights of any format."""

from __future__ import annotations

from functools import partial

import jax
from jax import lax
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.layers.layer_weight import LayerWeight
from jaxpaged.quant.product import StoredWeight, product
from pallas_kernels.grouped_matmul import by_tiles, grouped_matmul, tile_rows


def expert_linear(
    x: Float[Array, "m k"], w: Float[Array, "n *outputs k"] | StoredWeight, sizes: Int32[Array, "n"]
) -> Float32[Array, "m ..."]:
    """x, its rows sorted by expert, times each row's own expert's matrix: [m, *outputs] in float32.

    sizes: the rows of each expert; rows behind the last one come back without meaning.
    """
    if isinstance(w, StoredWeight):
        return by_tiles(x, sizes, partial(_times_expert, w), tile_rows(len(x), len(sizes)))
    outputs = w.shape[1:-1]
    return grouped_matmul(x, w.reshape(len(w), -1, w.shape[-1]), sizes).reshape(len(x), *outputs)


def _times_expert(w: Array | StoredWeight, x: Float[Array, "t k"], expert: Int32[Array, ""]) -> Array:
    """A layer is chosen before an expert: the layers' weights are arrays of their own, an expert is a part of one."""
    if isinstance(w, LayerWeight):
        return lax.switch(w.index, [partial(_times_expert, option) for option in w.options], x, expert)
    return product(x, jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, expert, keepdims=False), w))
