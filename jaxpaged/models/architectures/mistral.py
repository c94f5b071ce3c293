"""Mistral: Llama with a sliding window."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import window_of
from jaxpaged.models.spec import DecoderSpec

DEFAULT_WINDOW = 4096  # what a config without the key means; null means none


def spec_from_hf(config: Config) -> DecoderSpec:
    return llama.spec_from_hf(config).with_mixers(window=window_of(config, DEFAULT_WINDOW))


ARCHITECTURE = Architecture(
    names=("MistralForCausalLM",),
    model_type="mistral",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"sliding_window"},
)
