"""The table from the spec of a layer's part to its module."""

import dataclasses

import jax.numpy as jnp
import pytest

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.registry import LAYER_PARTS, REGISTRY
from tests.models.cases import CASE
from tests.seams import toy_recurrent


@dataclasses.dataclass(frozen=True)
class Unheard:
    """A feed-forward part that nobody has registered."""


def test_a_part_without_a_module_is_refused_by_name() -> None:
    spec = REGISTRY.spec_from_config(CASE["llama"].config)
    layers = tuple(dataclasses.replace(layer, ffn=Unheard()) for layer in spec.layers)
    strange = dataclasses.replace(spec, layers=layers)
    known = ", ".join(sorted(part.__name__ for part in LAYER_PARTS))
    with pytest.raises(ValueError, match=rf"layer part Unheard, only for {known}; .*LAYER_PARTS"):
        build_decoder(strange, dtype=jnp.float32)


def test_a_family_is_added_to_a_registry_of_its_own() -> None:
    """With the kinds of parts that it brings; the registry that all engines share stays as it is."""
    config = {**CASE["llama"].config, "architectures": list(toy_recurrent.ARCHITECTURE.names)}
    spec = toy_recurrent.WITH_RECURRENT.spec_from_config(config)
    parts = toy_recurrent.WITH_RECURRENT.layer_parts
    build_decoder(spec, dtype=jnp.float32, layer_parts=parts)
    assert parts.keys() - LAYER_PARTS.keys() == {toy_recurrent.Recurrence}
    with pytest.raises(UnsupportedModelError, match="ToyRecurrentForCausalLM"):
        REGISTRY.spec_from_config(config)
