"""Qwen 2 and 2.5: Llama with a bias on queries, keys and values; the upper layers may have a window."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, layer_types_of, need, window_of
from jaxpaged.models.spec import DecoderSpec

WINDOW_KEYS = frozenset({"layer_types", "max_window_layers", "sliding_window", "use_sliding_window"})
DEFAULT_WINDOW, DEFAULT_FULL_LAYERS = 4096, 28


def with_windows(spec: DecoderSpec, config: Config) -> DecoderSpec:
    """The spec with a window in those layers where the config says so."""
    window = window_of(config, DEFAULT_WINDOW)
    window = window if given(config, "use_sliding_window", False) else None
    full = given(config, "max_window_layers", DEFAULT_FULL_LAYERS)
    count = need(config, "num_hidden_layers")
    default = tuple("sliding_attention" if window and i >= full else "full_attention" for i in range(count))
    windows = {"full_attention": None, "sliding_attention": window}
    types = layer_types_of(config, default)
    layers = [layer.with_mixer(window=windows[kind]) for layer, kind in zip(spec.layers, types, strict=True)]
    return dataclasses.replace(spec, layers=tuple(layers))


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config)
    return with_windows(spec.with_mixers(qkv_bias=True, out_bias=False), config)


ARCHITECTURE = Architecture(
    names=("Qwen2ForCausalLM",),
    model_type="qwen2",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | WINDOW_KEYS,
    ignored_keys=frozenset({"attention_bias", "use_mrope"}),
)
