"""Mistral: Llama with a sliding window."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.spec import DecoderSpec

DEFAULT_WINDOW = 4096  # what a config without the key means; null means none


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config)
    window = config.get("sliding_window", DEFAULT_WINDOW)
    layer = dataclasses.replace(spec.layers[0], mixer=dataclasses.replace(spec.layers[0].mixer, window=window))
    return dataclasses.replace(spec, layers=(layer,) * len(spec.layers))


ARCHITECTURE = Architecture(
    names=("MistralForCausalLM",),
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"sliding_window"},
)
