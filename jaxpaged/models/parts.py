"""A decoder's parts in words, read off its spec: each kind of part, and each field that is not at its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from jaxpaged.models.experts import Router
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Attention, DecoderSpec, Embedding, Head

# "Class" or "Class.field" -> its words; "" leaves it out. Others are spelled as they are named.
WORDS = MappingProxyType(
    {
        "AcrossHeads": "norms across heads",
        "AfterNorm": "norms behind branches",
        "Alibi.scale": "",
        "Alibi.steepest": "",
        "Attention.clip_qkv": "clipped q, k and v",
        "Attention.norm_each_head": "norms of single heads",
        "Attention.soft_cap": "score cap",
        "Attention.gated": "gated output",
        "ClampedSwiGLU": "clamped SwiGLU",
        "Embedding": "",
        "Embedding.norm": "embedding norm",
        "Embedding.scale": "embedding scale",
        "Experts.bias": "expert bias",
        "GatedMLP": "gated MLP",
        "GatedMLP.bias": "MLP bias",
        "Head": "",
        "Head.bias": "logit bias",
        "Head.scale": "logit scale",
        "Head.soft_cap": "logit cap",
        "Head.unit_rows": "unit rows of the head",
        "LatentAttention.bias": "latent bias",
        "LatentAttention.q_rank": "latent queries",
        "LayerNorm": "layer norm",
        "LayerNorm.bias": "norms without bias",
        "LayerNorm.offset": "norms around 0",
        "LayerNorm.weight": "norms without weight",
        "LayerSpec": "",
        "LayerSpec.branch_scale": "residual scale",
        "MLP": "plain MLP",
        "MLP.bias": "MLP bias",
        "PreNorm": "",
        "RMSNorm": "RMS norm",
        "RMSNorm.offset": "norms around 0",
        "LearnedPositions.offset": "",
        "Llama3Scaling": "llama3 scaling",
        "Parallel": "parallel blocks",
        "PostNorm": "post-norm",
        "Rope.pairs": "adjacent rope pairs",
        "Router": "",
        "Router.bias": "router bias",
        "Router.jitter": "",
        "Router.renormalize": "",
        "Router.scale": "routing scale",
        "Router.scores": "",
        "SandwichNorm": "sandwich norms",
        "Temperature.offset": "",
    }
)
_NUMBERS_ONLY = ("Scaling",)  # endings of kinds whose fields only say how much


def parts_of(spec: DecoderSpec) -> tuple[str, ...]:
    """In the order of a layer, without repetition."""
    words = [word for layer in dict.fromkeys(spec.layers) for word in _words(layer)]
    words += [*_words(spec.embedding), *_words(spec.head)]
    mixers = [layer.mixer for layer in spec.layers]
    if spec.embedding.positions is None and any(isinstance(m, Attention) and m.position is None for m in mixers):
        words.append("NoPE layers")
    return tuple(dict.fromkeys(word for word in words if word))


def _words(part: Any) -> Iterator[str]:
    """Of a part and of the parts inside it."""
    kind = type(part).__name__
    yield WORDS.get(kind, _spaced(kind))
    yield from _special(part)
    for field in fields(part):
        value = getattr(part, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner):
                yield from _words(inner)
        if _is_switch(field, value) and not kind.endswith(_NUMBERS_ONLY):
            yield WORDS.get(f"{kind}.{field.name}", field.name.replace("_", " "))


def _is_switch(field: Field[Any], value: Any) -> bool:
    """Whether a field is at another value than its default. One without a default is a size."""
    return field.default is not MISSING and value != field.default and not is_dataclass(value)


def _special(part: Any) -> Iterator[str]:
    """What follows from several fields, or from a value."""
    match part:
        case Attention():
            if part.kv_heads < part.heads:
                yield "grouped queries" if part.kv_heads > 1 else "one key head"
            if any(rope.dim < part.head_dim for rope in part.ropes):
                yield "partial rope"
            if part.qk_norm is not None:
                yield "norms of queries and keys"
        case Router(scores=scores):
            yield f"{scores} router"
        case Head(tied=True):
            yield "tied head"
        case Embedding(norm=norm) if norm is not None:
            yield "embedding norm"
        case Rope(scaling=scaling) if scaling is not None:
            yield "scaled rope"


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
