"""From a config.json to its family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import (
    bloom,
    gemma2,
    gemma3,
    gpt2,
    gpt_neox,
    gptj,
    granite,
    llama,
    mistral,
    opt,
    phi3,
    qwen2,
    qwen3,
)
from jaxpaged.models.config_values import check_spec, check_values
from jaxpaged.models.spec import DecoderSpec

FAMILIES = (bloom, gemma2, gemma3, gpt2, gpt_neox, gptj, granite, llama, mistral, opt, phi3, qwen2, qwen3)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {name: family.ARCHITECTURE for family in FAMILIES for name in family.ARCHITECTURE.names}
)


def find_architecture(config: Config) -> Architecture:
    """The family of a config. Raises UnsupportedModelError that names the architecture and those we have."""
    names = config.get("architectures") or []
    found = next((ARCHITECTURES[name] for name in names if name in ARCHITECTURES), None)
    if found is None:
        asked = ", ".join(names) or "none (config.json has no `architectures`)"
        raise UnsupportedModelError(
            f"the model's architecture is {asked}; supported are {', '.join(sorted(ARCHITECTURES))}."
        )
    return found


def spec_from_config(config: Config) -> DecoderSpec:
    """The decoder that config.json describes.

    Raises UnsupportedModelError, by name, for an architecture or a key that is not implemented, or a broken value.
    """
    check_values(config)
    architecture = find_architecture(config)
    architecture.check_keys(config)
    spec = architecture.spec_from_hf(config)
    check_spec(spec)
    return spec
