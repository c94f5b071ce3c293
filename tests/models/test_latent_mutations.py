"""The parity cases of latent attention can fail: without any one of its parts, the logits are others."""

from dataclasses import replace

import pytest

from jaxpaged.models.experts import Router
from tests.models.test_mutations import Mutation, assert_parity_fails, ffn, layer, mixer, part, rope


def best_of_one(router: Router) -> Router:
    assert router.groups is not None
    return replace(router, groups=replace(router.groups, best=1))


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "mscale": ("deepseek_v3", mixer(scale=20**-0.5)),
    "adjacent_pairs": ("deepseek_v3", rope(pairs="halves")),
    "expert_groups": ("deepseek_v3", ffn(router=lambda router: replace(router, groups=None))),
    "score_of_a_group": ("deepseek_v3", ffn(router=best_of_one)),
    "groups_of_shares": ("deepseek_v2", ffn(router=lambda router: replace(router, groups=None))),
    "expert_scale": ("deepseek_v3", ffn(router=lambda router: replace(router, scale=1.0))),
    "expert_correction": ("deepseek_v3", ffn(router=lambda router: replace(router, correction_bias=False))),
    "expert_scores": ("deepseek_v3", ffn(router=lambda router: replace(router, scores="softmax"))),
    "expert_shares": ("glm4_moe_lite", ffn(router=lambda router: replace(router, renormalize=True))),
    "shared_experts": ("deepseek_v2", ffn(shared=lambda shared: None)),
    "temperature": ("mistral4", mixer(temperature=None)),
    "query_norm": ("minicpm3", mixer(q_norm=None)),
    "latent_norm": ("minicpm3", mixer(kv_norm=None)),
    "latent_bias": ("minicpm3", mixer(bias=False)),
    "rotated_lanes": ("minicpm3", mixer(position=None)),
    "rope_pairs": ("minicpm3", rope(pairs="adjacent")),
    "score_scale": ("minicpm3", mixer(scale=0.3)),
    "branch_scale": ("minicpm3", layer(branch_scale=1.0)),
    "embedding_scale": ("minicpm3", part("embedding", scale=1.0)),
    "logit_scale": ("minicpm3", part("head", scale=1.0)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_it_parity_fails(mutation: str) -> None:
    assert_parity_fails(*MUTATIONS[mutation])
