"""What a decoder is, as data: a DecoderSpec of typed parts. A closed union of parts, matched once when it is built.

Token ids -> Embedding -> layers (a mixer and a feed-forward part, wired by a residual part) -> final norm -> Head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Array, Float32, Int32

from jaxpaged.kv.spec import FullAttentionSpec, LayerCacheSpec, SlidingWindowSpec
from jaxpaged.models.heads import plan_heads
from pallas_kernels.paged_attention.api import ScoreMod

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """x / rms(x) * (offset + weight). Gemma stores its weights around zero: offset 1."""

    eps: float
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """(x - mean(x)) / std(x) * weight + bias."""

    eps: float


Norm = RMSNorm | LayerNorm


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """NTK-aware base that grows with the served length beyond `original_max_position`."""

    factor: float
    original_max_position: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071): slow dimensions are interpolated, fast ones kept, with a ramp between."""

    factor: float
    original_max_position: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1: long wavelengths divided by `factor`, short ones kept, with a blend between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


@dataclass(frozen=True, slots=True)
class LongRopeScaling:
    """LongRoPE (arXiv 2402.13753): a factor per frequency; the served length decides between short and long."""

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position: int
    attention_factor: float = 1.0


RopeScaling = LinearScaling | DynamicScaling | YarnScaling | Llama3Scaling | LongRopeScaling


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions on the first `dim` dimensions of each head, in pairs (i, i + dim/2) or (2i, 2i + 1)."""

    dim: int
    theta: float
    pairs: Literal["halves", "adjacent"] = "halves"
    scaling: RopeScaling | None = None


@dataclass(frozen=True, slots=True)
class Alibi:
    """A bias on the scores, linear in the distance, with a slope per head (arXiv 2108.12409)."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Causal self-attention. `scale` multiplies q.k. `position` None: positions enter at the embedding, or nowhere."""

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    position: Rope | Alibi | None = None
    window: int | None = None
    soft_cap: float | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class MLP:
    """down(act(up(x)))."""

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
class Parallel:
    """x + mixer(norm(x)) + ffn(ffn_norm(x)); `ffn_norm` None: both read the same normed rows."""

    norm: Norm
    ffn_norm: Norm | None = None


Residual = PreNorm | PostNorm | SandwichNorm | Parallel


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One decoder layer. `branch_scale` multiplies what a branch adds to the residual stream."""

    mixer: Attention
    ffn: MLP | GatedMLP
    residual: Residual
    branch_scale: float = 1.0


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
    """Hidden rows -> logits. `tied`: the embedding's table is the matrix. logits * scale, then cap*tanh(logits/cap)."""

    tied: bool
    bias: bool = False
    scale: float = 1.0
    soft_cap: float | None = None


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
        """The same model for at most so many tokens, without the windows that would never bind."""
        layers = tuple(_without_idle_window(layer, max_position) for layer in self.layers)
        return replace(self, max_position=max_position, layers=layers)

    def layer_caches(self, tensor_parallel: int = 1) -> tuple[LayerCacheSpec, ...]:
        """What each layer keeps per token. KV heads as they are stored, repeated or padded for the devices."""
        return tuple(_layer_cache(layer.mixer, tensor_parallel) for layer in self.layers)


def _without_idle_window(layer: LayerSpec, max_position: int) -> LayerSpec:
    if layer.mixer.window is None or layer.mixer.window < max_position:
        return layer
    return replace(layer, mixer=replace(layer.mixer, window=None))


def _layer_cache(mixer: Attention, tensor_parallel: int) -> LayerCacheSpec:
    kv_heads = plan_heads(mixer.heads, mixer.kv_heads, tensor_parallel).slots
    if mixer.window is None:
        return FullAttentionSpec(kv_heads, mixer.head_dim)
    return SlidingWindowSpec(kv_heads, mixer.head_dim, mixer.window)


@dataclass(frozen=True, slots=True)
class LayerRef:
    """What attention must know about the layer that calls it.

    group, score: static. index: scalar, the layer's place within its cache group, may be traced.
    alibi_slopes, sinks: one per query head, as the heads are stored.
    """

    group: int
    index: Int32[Array, ""]
    score: ScoreMod
    alibi_slopes: Float32[Array, "hq"] | None = None
    sinks: Float32[Array, "hq"] | None = None
