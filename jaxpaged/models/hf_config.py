"""Reading config.json, in the spelling of transformers 4 (rope_scaling, torch_dtype) or 5 (rope_parameters, dtype)."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rope,
    RopeScaling,
    YarnScaling,
)
from jaxpaged.models.spec import Activation

Config = Mapping[str, Any]

ROPE_KEYS = frozenset(
    "max_position_embeddings original_max_position_embeddings rope_parameters rope_scaling rope_theta".split()
)
ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}
# Per rope type the keys that it reads. Those of other types are left behind where a type was changed: not read.
_COMMON_ROPE_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}
_ROPE_TYPE_KEYS: Mapping[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "yarn": {
        "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "finetuned",
    },
    "llama3": {"factor", "low_freq_factor", "high_freq_factor"},
    "longrope": {"factor", "short_factor", "long_factor", "attention_factor"},
}  # fmt: skip


def need(config: Config, key: str) -> Any:
    """A key without a default. Raises UnsupportedModelError when config.json lacks it."""
    if config.get(key) is None:
        raise UnsupportedModelError(f"config.json lacks {key}, which this architecture needs; fetch the file again.")
    return config[key]


def need_one(config: Config, *keys: str) -> Any:
    """The first of several spellings of a key without a default."""
    found = [key for key in keys if config.get(key) is not None]
    return need(config, (found or keys)[0])


def given(config: Config, key: str, default: Any) -> Any:
    """A key with a default; null counts as absent."""
    value = config.get(key)
    return default if value is None else value


def activation_of(config: Config, key: str, default: str) -> Activation:
    """Raises UnsupportedModelError for an activation that is not implemented."""
    name = given(config, key, default)
    if name not in ACTIVATIONS:
        raise UnsupportedModelError(f"{key}={name!r} is not implemented; known are {', '.join(sorted(ACTIVATIONS))}.")
    return ACTIVATIONS[name]


def head_dim_of(config: Config) -> int:
    """`head_dim`, or the hidden size shared among the heads."""
    return int(given(config, "head_dim", 0)) or per_head(
        need(config, "hidden_size"), need(config, "num_attention_heads")
    )


def per_head(hidden: int, heads: int) -> int:
    """The hidden size shared among the heads. Raises UnsupportedModelError when there are more heads than that."""
    if hidden < heads:
        raise UnsupportedModelError(
            f"config.json shares a hidden size of {hidden} among {heads} heads; fetch the file again."
        )
    return hidden // heads


def window_of(config: Config, default: int | None = None) -> int | None:
    """How many tokens a token sees; null and 0 mean all, where the key is missing `default` counts."""
    return config.get("sliding_window", default) or None


def clip_of(config: Config) -> float | None:
    """`clip_qkv`; null, false and 0 mean none."""
    return float(config["clip_qkv"]) if config.get("clip_qkv") else None


def layer_types_of(config: Config, default: tuple[str, ...], local: str = "sliding_attention") -> tuple[str, ...]:
    """Per layer "full_attention" or `local`. Raises UnsupportedModelError for others, or another length."""
    types = tuple(given(config, "layer_types", default))
    others = set(types) - {"full_attention", local}
    if others or len(types) != need(config, "num_hidden_layers"):
        raise UnsupportedModelError(
            f"layer_types must name full_attention or {local} for each of the {config['num_hidden_layers']} "
            f"layers; it has {len(types)} entries{' and ' + ', '.join(sorted(others)) if others else ''}."
        )
    return types


def windowed_types(config: Config, pattern: int | str) -> tuple[str, ...]:
    """The layer types where config.json has a pattern: so many layers, of which the last is full; or LLLG, L local."""

    def kind(layer: int) -> str:
        letter = pattern[layer % len(pattern)] if isinstance(pattern, str) else "LG"[(layer + 1) % pattern == 0]
        return {"L": "sliding_attention", "G": "full_attention"}[letter]

    return tuple(map(kind, range(need(config, "num_hidden_layers"))))


def rotated_layers_of(config: Config) -> tuple[bool, ...]:
    """Per layer whether it has rotary positions. Raises UnsupportedModelError for another number of layers."""
    count, interval = need(config, "num_hidden_layers"), given(config, "no_rope_layer_interval", 4)
    rotated = given(config, "no_rope_layers", None) or [(i + 1) % interval != 0 for i in range(count)]
    if len(rotated) != count:
        raise UnsupportedModelError(
            f"no_rope_layers of config.json has {len(rotated)} entries for {count} layers; fetch the file again."
        )
    return tuple(map(bool, rotated))


def rope_of(
    config: Config,
    head_dim: int,
    *,
    layer_type: str | None = None,
    theta: float = 10000.0,
    rotated: float = 1.0,
    pairs: Literal["halves", "adjacent"] = "halves",
) -> Rope:
    """The rotary positions of a config; `theta` and `rotated` (the share of each head) where it does not say.

    layer_type: which entry to read where rope_parameters has one per layer type.
    """
    values = rope_values(config, layer_type)
    share = values.get("partial_rotary_factor", given(config, "partial_rotary_factor", rotated))
    base = given(values, "rope_theta", given(config, "rope_theta", theta))
    return Rope(int(head_dim * share), float(base), pairs, scaling_of(config, values))


def rope_values(config: Config, layer_type: str | None = None) -> Config:
    """The rope dictionary, wherever it stands; its unknown keys are refused by name."""
    values: Config = given(config, "rope_parameters", given(config, "rope_scaling", {}))
    if layer_type is not None and layer_type in values:
        values = given(values, layer_type, {})
    kind = rope_type(values)
    known = _COMMON_ROPE_KEYS.union(*_ROPE_TYPE_KEYS.values())
    unknown = [key for key, value in values.items() if key not in known and value]
    if unknown:
        raise UnsupportedModelError(f"rope type {kind!r} with {', '.join(sorted(unknown))} is not implemented.")
    return values


def rope_key(config: Config) -> str:
    """Where the rope dictionary stands, if there is one."""
    return "rope_scaling" if config.get("rope_parameters") is None else "rope_parameters"


def without_rope_keys(config: Config, keys: Collection[str]) -> Config:
    """The config without some keys of its rope dictionary, which a family reads itself."""
    key = rope_key(config)
    plain = {name: value for name, value in given(config, key, {}).items() if name not in keys}
    return ChainMap({key: plain}, cast("dict[str, Any]", config))


def rope_type(values: Config) -> str:
    kind = values.get("rope_type", values.get("type", "default"))
    kind = "longrope" if kind == "su" else kind
    if kind not in _ROPE_TYPE_KEYS:
        raise UnsupportedModelError(f"rope type {kind!r} is not implemented; known are {', '.join(_ROPE_TYPE_KEYS)}.")
    return kind


def scaling_of(config: Config, values: Config) -> RopeScaling | None:
    kind = rope_type(values)
    longest = config.get("max_position_embeddings")
    # Phi-3 keeps it beside the dictionary, where it takes precedence.
    outer = config.get("original_max_position_embeddings")
    original = int(given({"": outer}, "", given(values, "original_max_position_embeddings", longest)) or 0)
    match kind:
        case "linear":
            return LinearScaling(float(need(values, "factor")))
        case "dynamic":
            return DynamicScaling(float(need(values, "factor")), int(need(config, "max_position_embeddings")))
        case "yarn":
            return _yarn(values, original, given(values, "factor", longest / original if longest else None))
        case "llama3":
            low, high = need(values, "low_freq_factor"), need(values, "high_freq_factor")
            return Llama3Scaling(float(need(values, "factor")), float(low), float(high), original)
        case "longrope":
            return _longrope(values, original, given(values, "factor", longest / original if longest else None))
        case _:
            return None


def _yarn(values: Config, original: int, factor: float) -> YarnScaling:
    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    mscale, all_dim = values.get("mscale"), values.get("mscale_all_dim")
    inferred = magnitude(mscale) / magnitude(all_dim) if mscale and all_dim else magnitude(1.0)
    return YarnScaling(
        factor=float(factor),
        original_max_position=original,
        beta_fast=float(values.get("beta_fast") or 32),
        beta_slow=float(values.get("beta_slow") or 1),
        attention_factor=float(given(values, "attention_factor", inferred)),
        truncate=bool(given(values, "truncate", True)),
    )


def _longrope(values: Config, original: int, factor: float) -> LongRopeScaling:
    inferred = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return LongRopeScaling(
        short_factor=tuple(map(float, need(values, "short_factor"))),
        long_factor=tuple(map(float, need(values, "long_factor"))),
        original_max_position=original,
        attention_factor=float(given(values, "attention_factor", inferred)),
    )


def max_position_of(config: Config, rope: Rope) -> int:
    """The longest context: max_position_embeddings, stretched by the scalings whose configs state it unstretched."""
    longest = int(need(config, "max_position_embeddings"))
    match rope.scaling:
        case LinearScaling(factor) | DynamicScaling(factor):
            return int(longest * factor)
        case YarnScaling(factor, original):
            return int(original * factor)
        case _:
            return longest


def dtype_of(config: Config) -> str | None:
    """The precision of the checkpoint as config.json states it, e.g. "bfloat16"."""
    name = given(config, "dtype", config.get("torch_dtype"))
    if name is None and config.get("text_config"):
        return dtype_of(config["text_config"])
    return None if name is None else str(name).removeprefix("torch.")
