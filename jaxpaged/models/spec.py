"""What a decoder is, as data: a DecoderSpec of typed parts.

Token ids -> Embedding -> layers (a mixer and a feed-forward part, wired by a residual part) -> final norm -> Head.
Mixers and feed-forward parts are open: a family may bring its own, which models/registry.py then names. The other parts
are closed unions, matched once when the decoder is built.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.kv.kind import CacheKind
from jaxpaged.kv.spec import FullAttentionSpec, SlidingWindowSpec
from jaxpaged.models.head_norms import AcrossHeads
from jaxpaged.models.heads import plan_heads
from jaxpaged.models.rope import Rope, check_rope

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "xielu"]


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """x / rms(x) * (offset + weight). Gemma stores its weights around zero: offset 1. weight False: x / rms(x)."""

    eps: float
    offset: float = 0.0
    weight: bool = True


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """(x - mean(x)) / std(x) * (offset + weight) + bias, as far as it has them."""

    eps: float
    offset: float = 0.0
    weight: bool = True
    bias: bool = True


Norm = RMSNorm | LayerNorm


@dataclass(frozen=True, slots=True)
class Alibi:
    """A bias on the scores, linear in the distance, with a slope per head (arXiv 2108.12409).

    The slopes are powers of 2, down to scale * 2 ** -steepest where the count of heads is a power of 2.
    """

    steepest: float = 8.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Temperature:
    """Queries grow with their position, times 1 + scale * log(1 + floor((position + offset) / period))."""

    period: float
    scale: float
    offset: int = 0


@runtime_checkable
class MixerSpec(Hashable, Protocol):
    """The part of a layer in which tokens see earlier ones, as frozen data."""

    @property
    def ropes(self) -> tuple[Rope, ...]:
        """The rotations that the decoder computes once for all layers."""
        ...

    def cache(self, tensor_parallel: int) -> CacheKind:
        """What the layer keeps of earlier tokens, as it is stored for so many devices."""
        ...

    def served_at(self, max_position: int) -> MixerSpec:
        """The same mixer for at most so many tokens."""
        ...

    def check(self) -> None:
        """Raise UnsupportedModelError when the sizes that config.json gives cannot go together."""
        ...


@dataclass(frozen=True, slots=True)
class Attention:
    """Causal self-attention. `scale` multiplies q.k. `position` None: positions enter at the embedding, or nowhere.

    window: tokens that a token sees, itself included. chunk: it sees only those of its own chunk of so many tokens.
    sinks: a learned score per query head takes weight and gives nothing. gated: the sigmoid of a further projection
    multiplies the attended heads. late_qk_norm: after the positions, where qk_norm is before them.
    clip_qkv: projected queries, keys and values are kept between -clip_qkv and clip_qkv. norm_each_head: qk_norm has
    weights for each head of its own.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    position: Rope | Alibi | None = None
    window: int | None = None
    soft_cap: float | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Norm | AcrossHeads | None = None
    late_qk_norm: Norm | None = None
    norm_each_head: bool = False
    clip_qkv: float | None = None
    sinks: bool = False
    gated: bool = False
    chunk: int | None = None
    temperature: Temperature | None = None

    @property
    def reach(self) -> int | None:
        """Beyond so many tokens nothing is seen; None: everything earlier may be."""
        return min((bound for bound in (self.window, self.chunk) if bound is not None), default=None)

    @property
    def ropes(self) -> tuple[Rope, ...]:
        return (self.position,) if isinstance(self.position, Rope) else ()

    def cache(self, tensor_parallel: int) -> CacheKind:
        """KV heads as they are stored, repeated or padded for the devices."""
        kv_heads = plan_heads(self.heads, self.kv_heads, tensor_parallel).slots
        if self.reach is None:
            return FullAttentionSpec(kv_heads, self.head_dim)
        return SlidingWindowSpec(kv_heads, self.head_dim, self.reach)

    def served_at(self, max_position: int) -> Attention:
        """Without a window or chunks that would never bind."""
        window, chunk = (None if size is None or size >= max_position else size for size in (self.window, self.chunk))
        return replace(self, window=window, chunk=chunk)

    def check(self) -> None:
        if self.head_dim < 1 or self.heads % self.kv_heads:
            raise UnsupportedModelError(
                f"config.json asks for {self.heads} query heads of {self.head_dim} dimensions over {self.kv_heads} "
                "key-value heads, which cannot be shared out evenly; fetch the file again."
            )
        for rope in self.ropes:
            check_rope(rope, self.head_dim)


@dataclass(frozen=True, slots=True)
class MLP:
    """down(act(up(x))). The activation xielu has parameters of its own in each layer."""

    size: int
    activation: Activation
    bias: bool = False


@dataclass(frozen=True, slots=True)
class GatedMLP:
    """down(act(gate(x)) * up(x))."""

    size: int
    activation: Activation
    bias: bool = False


@dataclass(frozen=True, slots=True)
class PreNorm:
    """x + f(norm(x)), for the mixer and then for the feed-forward part."""

    norm: Norm


@dataclass(frozen=True, slots=True)
class PostNorm:
    """norm(x + f(x)), for the mixer and then for the feed-forward part."""

    norm: Norm


@dataclass(frozen=True, slots=True)
class SandwichNorm:
    """x + norm_after(f(norm_before(x))), for the mixer and then for the feed-forward part."""

    norm: Norm


@dataclass(frozen=True, slots=True)
class AfterNorm:
    """x + norm(f(x)), for the mixer and then for the feed-forward part."""

    norm: Norm


@dataclass(frozen=True, slots=True)
class Parallel:
    """x + mixer(norm(x)) + ffn(ffn_norm(x)); `ffn_norm` None: both read the same normed rows."""

    norm: Norm
    ffn_norm: Norm | None = None


Residual = PreNorm | PostNorm | SandwichNorm | AfterNorm | Parallel


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One decoder layer. `branch_scale` multiplies what a branch adds to the residual stream."""

    mixer: MixerSpec
    ffn: Hashable
    residual: Residual
    branch_scale: float = 1.0

    def with_mixer(self, **changes: Any) -> LayerSpec:
        """The layer with other values of its mixer's fields."""
        mixer: Any = self.mixer
        return replace(self, mixer=replace(mixer, **changes))


@dataclass(frozen=True, slots=True)
class LearnedPositions:
    """A table of position rows; row `position + offset` is added (OPT keeps 2 rows free)."""

    count: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Embedding:
    """Token rows of `width`, times `scale`; projected where `width` is not the hidden size; then positions, norm."""

    width: int
    scale: float = 1.0
    positions: LearnedPositions | None = None
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """Hidden rows -> logits. `tied`: the embedding's table is the matrix. logits * scale, then cap*tanh(logits/cap).

    unit_rows: the rows of a matrix of its own are divided by their lengths, once, when they are loaded.
    """

    tied: bool
    bias: bool = False
    scale: float = 1.0
    soft_cap: float | None = None
    unit_rows: bool = False


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """A whole decoder-only model.

    `max_position` is the length it is served at. It bounds the positions and decides the frequencies of dynamic and
    long rope, once for all requests, so that a key never depends on the length of its request and may be shared.
    """

    vocab_size: int
    hidden_size: int
    max_position: int
    embedding: Embedding
    layers: tuple[LayerSpec, ...]
    final_norm: Norm | None
    head: Head

    def served_at(self, max_position: int) -> DecoderSpec:
        """The same model for at most so many tokens."""
        layers = tuple(replace(layer, mixer=layer.mixer.served_at(max_position)) for layer in self.layers)
        return replace(self, max_position=max_position, layers=layers)

    def with_mixers(self, **changes: Any) -> DecoderSpec:
        """The same model with other values of a field of all its mixers."""
        return replace(self, layers=tuple(layer.with_mixer(**changes) for layer in self.layers))

    def with_ffn(self, ffn: Hashable, layers: Iterable[int] | None = None) -> DecoderSpec:
        """The same model with another feed-forward part in some layers (None: in all)."""
        chosen = set(range(len(self.layers)) if layers is None else layers)
        changed = [replace(layer, ffn=ffn) if i in chosen else layer for i, layer in enumerate(self.layers)]
        return replace(self, layers=tuple(changed))

    def with_each_mixer(self, changes: Iterable[Mapping[str, Any]]) -> DecoderSpec:
        """The same model with other values of fields of its mixers: a mapping for each layer."""
        changed = zip(self.layers, changes, strict=True)
        return replace(self, layers=tuple(layer.with_mixer(**change) for layer, change in changed))

    def with_layers(self, **changes: Any) -> DecoderSpec:
        """The same model with other values of a field of all its layers."""
        return replace(self, layers=tuple(replace(layer, **changes) for layer in self.layers))

    def layer_caches(self, tensor_parallel: int = 1) -> tuple[CacheKind, ...]:
        """What each layer keeps of earlier tokens, as it is stored for so many devices."""
        return tuple(layer.mixer.cache(tensor_parallel) for layer in self.layers)
