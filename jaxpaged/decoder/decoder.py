"""The one Decoder: it realises any DecoderSpec. Attention is an argument, so it runs with and without a cache.

It knows no kind of layer: mixers and feed-forward parts come from a table by the type of their spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int32

from jaxpaged.decoder.parts import LayerParts, build_part
from jaxpaged.kv.spec import cache_groups
from jaxpaged.layers.attention import Attend
from jaxpaged.layers.context import Place, TokenContext, token_context
from jaxpaged.layers.embedding import Head, TokenEmbedding
from jaxpaged.layers.layer_weight import at_layer, gather_layers
from jaxpaged.layers.norms import Norm, normed
from jaxpaged.layers.param import weight_of
from jaxpaged.models import spec as parts
from jaxpaged.models.registry import LAYER_PARTS
from jaxpaged.models.runs import Run, find_runs
from jaxpaged.models.spec import DecoderSpec, LayerSpec

LayerLoop = Literal["scan", "unroll", "switch"]
Indices = tuple[Int32[Array, "..."], ...]  # of layers within their cache groups, per place of a period


class Block(nnx.Module):
    """One layer: a mixer and a feed-forward part, whatever their kinds, around the residual stream."""

    def __init__(
        self, layer: LayerSpec, hidden: int, tensor_parallel: int, dtype: DTypeLike, layer_parts: LayerParts
    ) -> None:
        self.layer = layer
        self.mixer = build_part(layer_parts, layer.mixer, hidden, tensor_parallel, dtype)
        self.ffn = build_part(layer_parts, layer.ffn, hidden, tensor_parallel, dtype)
        residual = layer.residual
        before = None if isinstance(residual, parts.AfterNorm) else residual.norm
        ffn_before = residual.ffn_norm if isinstance(residual, parts.Parallel) else before
        after = residual.norm if isinstance(residual, parts.SandwichNorm | parts.AfterNorm) else None
        self.mixer_norm = Norm(before, hidden, "embed", dtype) if before else None
        self.ffn_norm = Norm(ffn_before, hidden, "embed", dtype) if ffn_before else None
        self.mixer_norm_after = Norm(after, hidden, "embed", dtype) if after else None
        self.ffn_norm_after = Norm(after, hidden, "embed", dtype) if after else None

    def __call__[State](
        self,
        x: Float[Array, "t e"],
        tokens: TokenContext,
        attend: Attend[State],
        state: State,
        place: Place,
    ) -> tuple[Float[Array, "t e"], State]:
        rows = x if isinstance(self.layer.residual, parts.PostNorm) else normed(self.mixer_norm, x)
        mixed, state = self.mixer(rows, tokens, attend, state, place)
        return self._finish(x, mixed, tokens), state

    def _finish(self, x: Float[Array, "t e"], mixed: Float[Array, "t e"], tokens: TokenContext) -> Float[Array, "t e"]:
        """What comes after the mixer, on the layer's input rows `x`."""
        scale = jnp.asarray(self.layer.branch_scale, x.dtype)
        match self.layer.residual:
            case parts.PreNorm() | parts.SandwichNorm() | parts.AfterNorm():
                x = x + normed(self.mixer_norm_after, mixed) * scale
                fed = self.ffn(normed(self.ffn_norm, x), tokens)
                return x + normed(self.ffn_norm_after, fed) * scale
            case parts.PostNorm():
                x = normed(self.mixer_norm, x + mixed * scale)
                return normed(self.ffn_norm, x + self.ffn(x, tokens) * scale)
            case parts.Parallel():
                fed = self.ffn(normed(self.ffn_norm or self.mixer_norm, x), tokens)
                x = x + (mixed + fed) * scale
                return x


class Decoder(nnx.Module):
    """Embedding, blocks, final norm and head of a spec.

    runs[r] is the period of the spec's r-th run of layers: one Block per place, whose parameters carry the run's
    repeats as a leading axis once functional.py has stacked them. A Block is a pytree, so plain lax.scan runs over it.
    Not `stacked`, each place is a list of Blocks, one per repeat, with parameters of their own.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        *,
        tensor_parallel: int,
        dtype: DTypeLike,
        stacked: bool = True,
        layer_parts: LayerParts = LAYER_PARTS,
    ) -> None:
        self.spec = spec
        self.places = cache_places(spec, tensor_parallel)
        self.embedding = TokenEmbedding(spec, tensor_parallel, dtype)

        def block(layer: LayerSpec) -> Block:
            return Block(layer, spec.hidden_size, tensor_parallel, dtype, layer_parts)

        def place(run: Run, index: int) -> Block | nnx.List[Block]:
            layers = [spec.layers[layer] for layer in run.layers(index)]
            return block(layers[0]) if stacked else nnx.List(map(block, layers))

        self.runs = nnx.List(
            nnx.List(place(run, index) for index in range(run.period)) for run in find_runs(spec.layers)
        )
        self.final_norm = Norm(spec.final_norm, spec.hidden_size, "embed", dtype) if spec.final_norm else None
        self.head = Head(spec, tensor_parallel, dtype)

    def embed(
        self,
        tokens: Int32[Array, "t"],
        positions: Int32[Array, "t"],
        given: Float[Array, "t w"] | None = None,
        is_given: Bool[Array, "t"] | None = None,
    ) -> Float[Array, "t e"]:
        return self.embedding(tokens, positions, given, is_given)

    def hidden[State](
        self,
        x: Float[Array, "t e"],
        positions: Int32[Array, "t"],
        attend: Attend[State],
        state: State,
        rows: Int32[Array, "t"] | None,
        layer_loop: LayerLoop,
    ) -> tuple[Float[Array, "t e"], State]:
        """All layers and the final norm."""
        ropes = {rope for layer in self.spec.layers for rope in layer.mixer.ropes}
        tokens = token_context(ropes, positions, self.spec.max_position, rows, attend)
        loops: dict[LayerLoop, _Loop[State]] = {"scan": _scan, "unroll": _unroll, "switch": _switch}
        for run, period in zip(find_runs(self.spec.layers), self.runs, strict=True):
            groups, indices = self._cache_places(run)
            x, state = loops[layer_loop](_Period(tokens, attend, groups), x, state, list(period), indices)
        return normed(self.final_norm, x), state

    def logits(self, hidden: Float[Array, "n e"]) -> Float32[Array, "n v"]:
        return self.head(hidden, weight_of(self.embedding.table))

    def _cache_places(self, run: Run) -> tuple[list[int], Indices]:
        """Per place of the period: its cache group, and its index within the group at each repeat."""
        places = [[self.places[layer] for layer in run.layers(place)] for place in range(run.period)]
        groups = [place[0][0] for place in places]
        return groups, tuple(jnp.asarray([index for _, index in place], jnp.int32) for place in places)


def cache_places(spec: DecoderSpec, tensor_parallel: int) -> tuple[tuple[int, int], ...]:
    """Per decoder layer its cache group and its place among the group's layers."""
    places = {
        layer: (group, index)
        for group, cache in enumerate(cache_groups(spec.layer_caches(tensor_parallel)))
        for index, layer in enumerate(cache.layers)
    }
    return tuple(places[layer] for layer in range(len(spec.layers)))


@dataclass(frozen=True)
class _Period[State]:
    """One pass over the places of a period; `groups`: the cache group of each."""

    tokens: TokenContext
    attend: Attend[State]
    groups: list[int]

    def __call__(self, x: Array, state: State, blocks: list[Block], indices: Indices) -> tuple[Array, State]:
        for block, group, index in zip(blocks, self.groups, indices, strict=True):
            x, state = block(x, self.tokens, self.attend, state, Place(group, index))
        return x, state


@runtime_checkable
class _Loop[State](Protocol):
    """Runs all repeats of a period. The layers of each place in `blocks` are stacked, or a list: see Decoder."""

    def __call__(
        self, period: _Period[State], x: Array, state: State, blocks: list[Any], indices: Indices, /
    ) -> tuple[Array, State]: ...


def _scan[State](
    period: _Period[State], x: Array, state: State, blocks: list[Block], indices: Indices
) -> tuple[Array, State]:
    """One compiled period for all repeats: quick to compile, but a CPU copies each layer's weights out of the stack."""

    def body(carry: tuple[Array, State], slices: tuple[list[Block], Indices]) -> tuple[tuple[Array, State], None]:
        return period(*carry, *slices), None

    (x, state), _ = lax.scan(body, (x, state), (blocks, indices))
    return x, state


def _unroll[State](
    period: _Period[State], x: Array, state: State, blocks: list[Block], indices: Indices
) -> tuple[Array, State]:
    """Static slices: on GPU, scanning would copy every layer's weights in front of a Triton GEMM."""
    for repeat in range(len(indices[0])):
        at = lambda leaf, repeat=repeat: lax.index_in_dim(leaf, repeat, keepdims=False)  # noqa: E731
        x, state = period(x, state, *jax.tree.map(at, (blocks, indices)))
    return x, state


def _switch[State](
    period: _Period[State], x: Array, state: State, places: list[Sequence[Block]], indices: Indices
) -> tuple[Array, State]:
    """One compiled period for all repeats, whose products branch on the layer: a CPU copies no layer's weights."""
    repeats = len(indices[0])
    if repeats == 1:
        return period(x, state, [blocks[0] for blocks in places], tuple(index[0] for index in indices))
    gathered = [gather_layers(list(blocks)) for blocks in places]

    def body(repeat: Array, carry: tuple[Array, State]) -> tuple[Array, State]:
        blocks = [at_layer(block, repeat) for block in gathered]
        return period(*carry, blocks, tuple(index[repeat] for index in indices))

    x, state = lax.fori_loop(0, repeats, body, (x, state))
    return x, state
