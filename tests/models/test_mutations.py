"""The parity cases can fail: without any one of these parts of a model, its logits are others."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.models.experts import Experts, Router
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import Alibi, DecoderSpec, LayerSpec, Parallel, PreNorm, RMSNorm, SandwichNorm
from tests.models.case import load_golden, make_weights
from tests.models.cases import CASE
from tests.models.dense import assemble, run
from tests.models.test_parity import TOLERANCE

Mutation = Callable[[DecoderSpec], DecoderSpec]


def each_layer(change: Callable[[LayerSpec], LayerSpec]) -> Mutation:
    return lambda spec: replace(spec, layers=tuple(map(change, spec.layers)))


def mixer(**changes: object) -> Mutation:
    return each_layer(lambda layer: replace(layer, mixer=replace(layer.mixer, **changes)))


def rope(**changes: object) -> Mutation:
    def change(layer: LayerSpec) -> LayerSpec:
        assert isinstance(layer.mixer.position, Rope)
        position = replace(layer.mixer.position, **changes)
        return replace(layer, mixer=replace(layer.mixer, position=position))

    return each_layer(change)


def layer(**changes: object) -> Mutation:
    return each_layer(lambda layer: replace(layer, **changes))


def part(name: str, **changes: object) -> Mutation:
    return lambda spec: replace(spec, **{name: replace(getattr(spec, name), **changes)})


def without_offset(spec: DecoderSpec) -> DecoderSpec:
    def change(layer: LayerSpec) -> LayerSpec:
        norm = replace(layer.residual.norm, offset=0.0)
        return replace(layer, residual=SandwichNorm(norm))

    return replace(spec, layers=tuple(map(change, spec.layers)))


def serial(spec: DecoderSpec) -> DecoderSpec:
    assert isinstance(spec.layers[0].residual, Parallel)
    return layer(residual=PreNorm(spec.layers[0].residual.norm))(spec)


def spare_positions(spec: DecoderSpec) -> DecoderSpec:
    positions = replace(spec.embedding.positions, offset=0)
    return part("embedding", positions=positions)(spec)


def ffn(**changes: Callable[[object], object]) -> Mutation:
    """Other values of fields of the experts."""

    def change(layer: LayerSpec) -> LayerSpec:
        if not isinstance(layer.ffn, Experts):
            return layer
        changed = {name: change(getattr(layer.ffn, name)) for name, change in changes.items()}
        return replace(layer, ffn=replace(layer.ffn, **changed))

    return each_layer(change)


def one_expert(router: Router) -> Router:
    return replace(router, top_k=1)


def without_means(spec: DecoderSpec) -> DecoderSpec:
    return layer(residual=PreNorm(RMSNorm(spec.final_norm.eps)))(spec)


def shared_norm(spec: DecoderSpec) -> DecoderSpec:
    return layer(residual=Parallel(spec.layers[0].residual.norm))(spec)


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "rope": ("llama", mixer(position=None)),
    "rope_pairs": ("gptj", rope(pairs="halves")),
    "partial_rope": ("neox_parallel", rope(dim=16)),
    **{f"rope_{kind}": (f"llama_{kind}", rope(scaling=None)) for kind in ("linear", "dynamic", "yarn", "llama3")},
    "rope_longrope": ("phi3_longrope", rope(scaling=None)),
    "longrope_served_short": ("phi3_longrope", lambda spec: replace(spec, max_position=32)),
    "alibi": ("bloom", mixer(position=None)),
    "learned_positions": ("gpt2", part("embedding", positions=None)),
    "spare_positions": ("opt", spare_positions),
    "window": ("mistral", mixer(window=None)),
    "window_size": ("mistral", mixer(window=17)),
    "bias": ("qwen2", mixer(qkv_bias=False)),
    "out_bias": ("gpt2", mixer(out_bias=False)),
    "qk_norm": ("qwen3", mixer(qk_norm=None)),
    "score_soft_cap": ("gemma2", mixer(soft_cap=None)),
    "logit_soft_cap": ("gemma2", part("head", soft_cap=None)),
    "norm_offset": ("gemma2", without_offset),
    "embedding_scale": ("gemma2", part("embedding", scale=1.0)),
    "embedding_norm": ("bloom", part("embedding", norm=None)),
    "residual_scale": ("granite", layer(branch_scale=1.0)),
    "logit_scale": ("granite", part("head", scale=1.0)),
    "score_scale": ("granite", mixer(scale=0.25)),
    "parallel": ("neox_parallel", serial),
    "second_expert": ("mixtral", ffn(router=one_expert)),
    "expert_weights": ("mixtral", ffn(router=lambda router: replace(router, renormalize=False))),
    "expert_shares": ("qwen2_moe", ffn(router=lambda router: replace(router, renormalize=True))),
    "shared_expert": ("qwen2_moe", ffn(shared=lambda shared: None)),
    "shared_gate": ("qwen2_moe", ffn(shared=lambda shared: replace(shared, gated=False))),
    "correction_bias": ("glm4_moe", ffn(router=lambda router: replace(router, correction_bias=False))),
    "expert_groups": ("glm4_moe", ffn(router=lambda router: replace(router, groups=None))),
    "group_scores": ("glm4_moe", ffn(router=lambda router: replace(router, groups=replace(router.groups, best=1)))),
    "routed_scale": ("glm4_moe", ffn(router=lambda router: replace(router, scale=1.0))),
    "sparsemixer": ("phimoe", ffn(router=lambda router: replace(router, scores="softmax"))),
    "sparsemixer_jitter": ("phimoe", ffn(router=lambda router: replace(router, jitter=0.01))),
    "expert_activation": ("qwen3_moe", ffn(activation=lambda silu: "gelu")),
    "final_norm": ("llama", lambda spec: replace(spec, final_norm=None)),
    "alibi_scale": ("falcon_alibi", mixer(position=Alibi())),
    "second_norm": ("falcon_grouped", shared_norm),
    "clip_qkv": ("mpt", mixer(clip_qkv=None)),
    "norm_without_bias": ("mpt", without_means),
    "head_bias": ("phi", part("head", bias=False)),
    "norm_each_head": ("stablelm_parallel", mixer(qk_norm=None)),
}


@cache
def leaves_by_path(name: str) -> dict[str, jax.Array]:
    case = CASE[name]
    decoder = build_decoder(spec_from_config(case.config), dtype=jnp.float32)
    leaves = assemble(find_architecture(case.config).weights, decoder, make_weights(case, load_golden(case).tensors))
    return {info.path: leaf for info, leaf in zip(decoder.params, leaves, strict=True)}


def assert_parity_fails(name: str, mutate: Mutation) -> None:
    golden = load_golden(CASE[name])
    spec = spec_from_config(CASE[name].config)
    mutated = mutate(spec)
    assert mutated != spec
    decoder = build_decoder(mutated, dtype=jnp.float32)
    leaves = tuple(leaves_by_path(name)[info.path] for info in decoder.params)
    logits = run(decoder, leaves, golden.tokens)[golden.positions, : golden.logits.shape[1]]
    assert np.abs(logits - golden.logits).max() > 10 * TOLERANCE * np.abs(golden.logits).max()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_it_parity_fails(mutation: str) -> None:
    assert_parity_fails(*MUTATIONS[mutation])
