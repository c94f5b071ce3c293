"""The only boundary between nnx modules and plain JAX: parameters outside are a flat tuple of stacked arrays.

    decoder = build_decoder(spec, dtype=jnp.bfloat16)
    x = decoder.embed(leaves, tokens, positions)
    hidden, state = decoder.hidden(leaves, x, positions, attend, state)
    logits = decoder.logits(leaves, hidden)

decoder.params describes the leaves, in order. A quantized weight is several, as its scheme names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from jaxpaged.decoder.parameters import Declared, ParamInfo, Path, Place, Weight, declare
from jaxpaged.decoder.parts import LayerParts
from jaxpaged.kv.kind import CacheKind
from jaxpaged.layers.attention import Attend
from jaxpaged.models.registry import LAYER_PARTS
from jaxpaged.models.runs import find_runs
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.plain import PLAIN
from jaxpaged.quant.scheme import Parameter, QuantizedWeight, Scheme
from jaxpaged.quant.schemes import Overrides, choose_scheme

Leaves = tuple[Array, ...]
Layout = Callable[[Scheme, Parameter], Scheme]  # how a machine stores what another scheme would


@dataclass(frozen=True, eq=False)
class FunctionalDecoder:
    """A spec as pure functions of its leaves. Static: closed over, never an argument of a jitted function.

    portable: the same decoder with the leaves that a converted checkpoint holds, where a machine wants others.
    """

    spec: DecoderSpec
    dtype: np.dtype
    tensor_parallel: int
    layer_loop: LayerLoop
    params: tuple[ParamInfo, ...]
    weights: tuple[Weight, ...]
    portable: FunctionalDecoder | None
    _module: _Module
    _tree: PyTreeDef  # of the Decoder
    _order: tuple[int, ...]  # which leaf comes where in it

    def laid_out(self, layout: Layout) -> FunctionalDecoder:
        """The same decoder with its weights stored as `layout` says."""
        schemes = iter([layout(weight.scheme, weight.parameter) for weight in self.weights])
        declared, tree, order = self._module.filled(self.spec, lambda target, parameter: next(schemes))
        return replace(self, params=declared.params, weights=declared.weights, portable=self, _tree=tree, _order=order)

    @property
    def cacheable(self) -> bool:
        """Whether the persistent compile cache can hold programs with its layers: not those with oneDNN's products."""
        return self.portable is None

    def layer_caches(self) -> tuple[CacheKind, ...]:
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
        decoder: Decoder = jax.tree.unflatten(self._tree, [leaves[index] for index in self._order])
        return decoder


def build_decoder(
    spec: DecoderSpec,
    *,
    dtype: DTypeLike,
    tensor_parallel: int = 1,
    layer_loop: LayerLoop = "scan",
    scheme: Scheme | None = None,
    overrides: Overrides = (),
    layer_parts: LayerParts = LAYER_PARTS,
) -> FunctionalDecoder:
    """Declare a decoder without allocating anything.

    scheme: the format of the weights that it accepts; `overrides`: of single parameters (quant/schemes.py).
    layer_parts: the module of each kind of mixer and feed-forward part.
    """
    stacked = layer_loop != "switch"
    build = partial(Decoder, spec, tensor_parallel=tensor_parallel, dtype=dtype, stacked=stacked)
    graph, state = nnx.split(nnx.eval_shape(partial(build, layer_parts=layer_parts)))
    module = _Module(graph, tuple(nnx.to_flat_state(state)), stacked)
    choose = partial(choose_scheme, scheme=scheme, overrides=overrides)
    declared, tree, order = module.filled(spec, choose)
    return FunctionalDecoder(
        spec, jnp.dtype(dtype), tensor_parallel, layer_loop, *declared, None, module, tree, tuple(order)
    )


@dataclass(frozen=True, eq=False)
class _Module:
    """A Decoder without arrays: its graph and its parameters under their paths."""

    graph: Any
    variables: tuple[tuple[Path, nnx.Param[Array]], ...]
    stacked: bool

    def filled(
        self, spec: DecoderSpec, scheme_of: Callable[[str, Parameter], Scheme]
    ) -> tuple[Declared, PyTreeDef, tuple[int, ...]]:
        """The leaves in schemes, and the flattened module, with the number of a leaf for each array.

        nnx.merge() walks every parameter in Python; a tree that was flattened once is filled a hundred times as fast.
        """
        declared = declare(self.variables, partial(_place_of, spec, self.stacked), scheme_of)
        places = [
            (path, variable.replace(_held(weight)))
            for weight, (path, variable) in zip(declared.weights, self.variables, strict=True)
        ]
        order, tree = jax.tree.flatten(nnx.merge(self.graph, nnx.from_flat_state(places)))
        return declared, tree, tuple(order)


def _place_of(spec: DecoderSpec, stacked: bool, path: Path) -> Place:
    """The decoder layers that a parameter of the module tree belongs to, and its name per layer."""
    if path[0] != "runs":
        return Place(".".join(map(str, path)))
    layers = find_runs(spec.layers)[int(path[1])].layers(int(path[2]))
    if not stacked:
        layers, path = (layers[int(path[3])],), path[1:]
    return Place(".".join(map(str, ("layers.{i}", *path[3:]))), layers, stacked)


def _held(weight: Weight) -> int | QuantizedWeight:
    """What stands for the weight in the module tree, with the number of a leaf for its array."""
    return weight.leaves[0] if weight.scheme == PLAIN else QuantizedWeight(weight.leaves, weight.scheme)
