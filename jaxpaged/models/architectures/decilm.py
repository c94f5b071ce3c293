"""DeciLM: Llama with a number of key-value heads for each layer."""

from __future__ import annotations

import dataclasses

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.spec import DecoderSpec

PER_LAYER = "num_key_value_heads_per_layer"


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config)
    counts = config.get(PER_LAYER)
    if counts is None:
        return spec
    if len(counts) != len(spec.layers):
        raise UnsupportedModelError(
            f"{PER_LAYER} must have a number for each of the {len(spec.layers)} layers; it has {len(counts)}."
        )
    layers = [layer.with_mixer(kv_heads=count) for layer, count in zip(spec.layers, counts, strict=True)]
    return dataclasses.replace(spec, layers=tuple(layers))


ARCHITECTURE = Architecture(
    names=("DeciLMForCausalLM",),
    model_type="deci",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {PER_LAYER},
    # Nemotron's layers without attention, or with a linear map in its place.
    fixed_keys={"block_configs": None},
)
