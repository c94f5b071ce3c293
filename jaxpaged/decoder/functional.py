"""The only boundary between nnx modules and plain JAX: parameters outside are a flat tuple of stacked arrays.

    decoder = build_decoder(spec, dtype=jnp.bfloat16)
    x = decoder.embed(leaves, tokens, positions)
    hidden, state = decoder.hidden(leaves, x, positions, attend, state)
    logits = decoder.logits(leaves, hidden)

decoder.params describes the leaves, in order. A quantized weight is two leaves, `<path>.values` and `<path>.scale`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import PyTreeDef
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxpaged.decoder.decoder import Decoder, LayerLoop
from jaxpaged.decoder.parts import LayerParts
from jaxpaged.kv.spec import LayerCacheSpec
from jaxpaged.layers.attention import Attend
from jaxpaged.models.forms import Form
from jaxpaged.models.registry import LAYER_PARTS
from jaxpaged.models.runs import find_runs
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.qarray import QArray
from jaxpaged.quant.schemes import SchemeRules, scheme_of

Leaves = tuple[Array, ...]
Path = tuple[Any, ...]  # of a parameter in the module tree: names and places in lists


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One leaf: e.g. `runs.0.0.mixer.qkv`, with a logical name per axis.

    layers: the decoder layers that are stacked on the first axis, in order; empty for a leaf without a layer axis.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[str | None, ...]
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter of the module tree, and the leaves that hold it: one, or values and scale.

    target: its name per decoder layer, e.g. `layers.{i}.mixer.qkv`; `shape` is that of one layer.
    inputs: how many of its last axes linear() contracts. form: how a checkpoint's tensors make it.
    layers: the decoder layers that its leaves hold, in order; `stacked`: on their first axis.
    """

    target: str
    shape: tuple[int, ...]
    dtype: np.dtype
    inputs: int
    form: Form
    layers: tuple[int, ...]
    stacked: bool
    leaves: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FunctionalDecoder:
    """A spec as pure functions of its leaves. Static: closed over, never an argument of a jitted function."""

    spec: DecoderSpec
    dtype: np.dtype
    tensor_parallel: int
    layer_loop: LayerLoop
    params: tuple[ParamInfo, ...]
    weights: tuple[Weight, ...]
    _tree: PyTreeDef  # of the Decoder
    _order: tuple[int, ...]  # which leaf comes where in it

    def layer_caches(self) -> tuple[LayerCacheSpec, ...]:
        """What each layer keeps of earlier tokens, as it is stored for these devices."""
        return self.spec.layer_caches(self.tensor_parallel)

    def embed(
        self,
        leaves: Leaves,
        tokens: Int32[Array, "t"],
        positions: Int32[Array, "t"],
        given: Float[Array, "t w"] | None = None,
        is_given: Bool[Array, "t"] | None = None,
    ) -> Float[Array, "t e"]:
        """Rows that enter the first layer. Where `is_given`, `given` stands for the row of the embedding table."""
        return self._merge(leaves).embed(tokens, positions, given, is_given)

    def hidden[State](
        self,
        leaves: Leaves,
        x: Float[Array, "t e"],
        positions: Int32[Array, "t"],
        attend: Attend[State],
        state: State,
        rows: Int32[Array, "t"] | None = None,
    ) -> tuple[Float[Array, "t e"], State]:
        """All layers and the final norm. `attend` threads `state` through the layers; `rows`: each token's adapter."""
        return self._merge(leaves).hidden(x, positions, attend, state, rows, self.layer_loop)

    def logits(self, leaves: Leaves, hidden: Float[Array, "n e"]) -> Float32[Array, "n v"]:
        """Language-model logits; padded vocabulary entries are -inf."""
        return self._merge(leaves).logits(hidden)

    def _merge(self, leaves: Sequence[Array]) -> Decoder:
        if len(leaves) != len(self.params):
            raise ValueError(f"the decoder has {len(self.params)} leaves, got {len(leaves)}")
        return jax.tree.unflatten(self._tree, [leaves[index] for index in self._order])


def build_decoder(
    spec: DecoderSpec,
    *,
    dtype: DTypeLike,
    tensor_parallel: int = 1,
    layer_loop: LayerLoop = "scan",
    scheme: SchemeRules | None = None,
    layer_parts: LayerParts = LAYER_PARTS,
) -> FunctionalDecoder:
    """Declare a decoder without allocating anything.

    scheme: which weights are quantized (quant/schemes.py). layer_parts: the module of each kind of mixer and
    feed-forward part.
    """
    stacked = layer_loop != "switch"
    declare = partial(Decoder, spec, tensor_parallel=tensor_parallel, dtype=dtype, stacked=stacked)
    abstract = nnx.eval_shape(partial(declare, layer_parts=layer_parts))
    graph, state = nnx.split(abstract)
    variables = tuple((path, variable) for path, variable in nnx.to_flat_state(state))
    params: list[ParamInfo] = []
    weights: list[Weight] = []
    for path, variable in variables:
        layers, within = _layers_of(spec, path, stacked)
        target = ".".join(map(str, ("layers.{i}", *within) if layers else path))
        quantized = variable.get_metadata()["inputs"] > 0 and scheme_of(target, scheme or ()) is not None
        leaves = _leaves_of(".".join(map(str, path)), variable, layers if stacked else (), quantized)
        shape, (inputs, form) = variable.get_value().shape, (variable.get_metadata()[key] for key in ("inputs", "form"))
        held = tuple(range(len(params), len(params) + len(leaves)))
        weights.append(Weight(target, shape, jnp.dtype(dtype), inputs, form, layers, stacked and bool(layers), held))
        params += leaves
    places = [
        (path, variable.replace(_join(weight.leaves)))
        for weight, (path, variable) in zip(weights, variables, strict=True)
    ]
    # nnx.merge() walks every parameter in Python; a tree that was flattened once is filled a hundred times as fast.
    order, tree = jax.tree.flatten(nnx.merge(graph, nnx.from_flat_state(places)))
    return FunctionalDecoder(
        spec, jnp.dtype(dtype), tensor_parallel, layer_loop, tuple(params), tuple(weights), tree, tuple(order)
    )


def _leaves_of(path: str, variable: nnx.Param, stack: tuple[int, ...], quantized: bool) -> list[ParamInfo]:
    """One leaf, or values and scale; with a layer axis where layers are stacked."""
    one, metadata = variable.get_value(), variable.get_metadata()
    shape, axes = one.shape, metadata["axes"]
    if stack:
        shape, axes = (len(stack), *shape), ("layer", *axes)
    if not quantized:
        return [ParamInfo(path, shape, jnp.dtype(one.dtype), axes, stack)]
    outputs = slice(len(shape) - metadata["inputs"])
    return [
        ParamInfo(f"{path}.values", shape, jnp.dtype(jnp.int8), axes, stack),
        ParamInfo(f"{path}.scale", shape[outputs], jnp.dtype(jnp.float32), axes[outputs], stack),
    ]


def _layers_of(spec: DecoderSpec, path: Path, stacked: bool) -> tuple[tuple[int, ...], Path]:
    """The decoder layers that a parameter of the module tree belongs to, and its path within a layer."""
    if path[0] != "runs":
        return (), path
    layers = find_runs(spec.layers)[int(path[1])].layers(int(path[2]))
    return (layers, path[3:]) if stacked else ((layers[int(path[3])],), path[4:])


def _join(leaves: Sequence[Any]) -> Any:
    return leaves[0] if len(leaves) == 1 else QArray(*leaves)
