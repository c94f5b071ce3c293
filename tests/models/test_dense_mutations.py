"""The cases of the dense families can fail: without any one of these parts, their logits are others."""

import dataclasses

import pytest

from jaxpaged.models.spec import AfterNorm, DecoderSpec, LayerSpec, RMSNorm
from tests.models.test_mutations import Mutation, assert_parity_fails, each_layer, mixer, part, rope


def activation(name: str) -> Mutation:
    return each_layer(lambda layer: dataclasses.replace(layer, ffn=dataclasses.replace(layer.ffn, activation=name)))


def norms(**changes: object) -> Mutation:
    """Other norms around the branches."""

    def change(layer: LayerSpec) -> LayerSpec:
        norm = dataclasses.replace(layer.residual.norm, **changes)
        return dataclasses.replace(layer, residual=dataclasses.replace(layer.residual, norm=norm))

    return each_layer(change)


def rope_everywhere(spec: DecoderSpec) -> DecoderSpec:
    (rope,) = {layer.mixer.position for layer in spec.layers} - {None}
    return mixer(position=rope)(spec)


def scaled_everywhere(spec: DecoderSpec) -> DecoderSpec:
    return mixer(position=spec.layers[-1].mixer.position)(spec)


def only_after(layer: LayerSpec) -> LayerSpec:
    return dataclasses.replace(layer, residual=AfterNorm(layer.residual.norm))


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "norm_offset": ("gemma", norms(offset=0.0)),
    "layer_norm_offset": ("nemotron", norms(offset=0.0)),
    "norm_after": ("exaone4", norms(offset=1.0)),
    "norm_before": ("glm4", each_layer(only_after)),
    "relu2": ("arcee", activation("relu")),
    "xielu": ("apertus", activation("relu2")),
    "no_positions": ("smollm3", rope_everywhere),
    "no_positions_where_full": ("exaone4", rope_everywhere),
    "window": ("exaone4", mixer(window=None)),
    "qk_layer_norm": ("persimmon", mixer(qk_norm=None)),
    "across_heads": ("olmo2", mixer(qk_norm=RMSNorm(1e-5), norm_each_head=True)),
    "scaled_only_where_full": ("olmo3", scaled_everywhere),
    "norm_of_each_head": ("cohere", mixer(qk_norm=None)),
    "unscaled_logits": ("cohere2", part("head", scale=1.0)),
    "clip": ("olmo", mixer(clip_qkv=None)),
    "norms_before_positions": ("hunyuan_dense", mixer(late_qk_norm=None)),
    "alpha": ("hunyuan_dense", rope(theta=10000.0)),
    "adjacent": ("ernie4_5", rope(pairs="halves")),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_it_parity_fails(mutation: str) -> None:
    assert_parity_fails(*MUTATIONS[mutation])
