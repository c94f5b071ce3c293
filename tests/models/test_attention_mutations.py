"""Parity fails without any one part of attention that these families have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jaxpaged.models.registry import spec_from_config
from jaxpaged.models.spec import DecoderSpec, LayerSpec
from tests.models.cases import CASE
from tests.models.test_mutations import Mutation, assert_parity_fails, each_layer, mixer, part


def rotated_everywhere(spec: DecoderSpec) -> DecoderSpec:
    (rope,) = {rope for layer in spec.layers for rope in layer.mixer.ropes}
    return mixer(position=rope)(spec)


def wider(spec: DecoderSpec) -> DecoderSpec:
    """By one token, where there is a window."""

    def change(layer: LayerSpec) -> LayerSpec:
        return layer if layer.mixer.window is None else layer.with_mixer(window=layer.mixer.window + 1)

    return each_layer(change)(spec)


def ffn(**changes: object) -> Mutation:
    """Of the layers with experts."""
    return each_layer(lambda layer: replace(layer, ffn=_changed(layer.ffn, changes)))


def _changed(ffn: object, changes: dict[str, object]) -> object:
    return replace(ffn, **changes) if hasattr(ffn, "router") else ffn


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "temperature_from_the_start": ("ministral3", mixer(temperature=None)),
    "sinks": ("gpt_oss", mixer(sinks=False)),
    "window": ("gpt_oss", wider),
    "clamp": ("gpt_oss", ffn(activation="silu")),
    "chunk": ("llama4", mixer(chunk=None)),
    "chunk_size": ("llama4", mixer(chunk=13)),
    "temperature": ("llama4", mixer(temperature=None)),
    "unit_norms": ("llama4", mixer(late_qk_norm=None)),
    "no_positions": ("llama4", rotated_everywhere),
    "scale_inputs": ("llama4", ffn(scale_inputs=False)),
    "gate": ("afmoe", mixer(gated=False)),
    "no_positions_beside_windows": ("afmoe", rotated_everywhere),
    "embedding_scale": ("afmoe", part("embedding", scale=1.0)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_it_parity_fails(mutation: str) -> None:
    assert_parity_fails(*MUTATIONS[mutation])


def test_queries_that_do_not_grow_have_no_temperature() -> None:
    """Devstral 2 is published with a growth of 0."""
    config = CASE["ministral3"].config
    still = {**config, "rope_parameters": {**config["rope_parameters"], "llama_4_scaling_beta": 0.0}}
    assert spec_from_config(still) == mixer(temperature=None)(spec_from_config(config))
