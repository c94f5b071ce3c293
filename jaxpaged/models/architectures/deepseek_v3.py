"""DeepSeek V3, R1 and Kimi K2: latent attention, and from some layer on experts that are chosen within groups."""

from __future__ import annotations

from collections.abc import Iterable

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import latent
from jaxpaged.models.expert_rules import BLOCK, expert_rules, shared_rules
from jaxpaged.models.experts import ExpertGroups, Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, need
from jaxpaged.models.spec import DecoderSpec, GatedMLP
from jaxpaged.models.weight_rules import Rule, WeightRules

WEIGHTS = WeightRules(
    (
        *latent.RULES,
        *expert_rules(),
        *shared_rules("shared_experts"),
        Rule(f"{BLOCK}.gate.e_score_correction_bias", "layers.{i}.ffn.router.correction"),
    ),
    prefix="model.",
    ignored=latent.WEIGHTS.ignored,
    further_layers="model.layers.{i}.",
)
EXPERT_KEYS = frozenset(
    {
        "moe_intermediate_size",
        "n_group",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
        "routed_scaling_factor",
        "topk_group",
    }
)
# The layers behind the last, which predict several tokens at once, are not read.
IGNORED = latent.IGNORED | {"num_mtp_layers", "num_nextn_predict_layers"}


def with_experts(spec: DecoderSpec, config: Config, router: Router, layers: Iterable[int]) -> DecoderSpec:
    """The spec with experts in some layers, and those that serve every token."""
    size, activation = need(config, "moe_intermediate_size"), activation_of(config, "hidden_act", "silu")
    count = given(config, "n_shared_experts", 0)
    shared = SharedExperts(GatedMLP(count * size, activation)) if count else None
    return spec.with_ffn(Experts(router, size, activation, shared=shared), layers)


def sparse_layers(config: Config, dense: int) -> range:
    """All but the first: `dense` of them where config.json does not say."""
    return range(given(config, "first_k_dense_replace", dense), need(config, "num_hidden_layers"))


def groups_of(config: Config, best: int) -> ExpertGroups | None:
    """The groups of experts, of which a token may use some; `best`: scores that a group is judged by."""
    count, kept = given(config, "n_group", 1), given(config, "topk_group", 1)
    return ExpertGroups(count, kept, best) if count > 1 else None


def sigmoid_router(config: Config) -> Router:
    """Chosen by scores and corrections; the scores of the chosen add up to a factor."""
    return Router(
        need(config, "n_routed_experts"),
        need(config, "num_experts_per_tok"),
        scores="sigmoid",
        renormalize=given(config, "norm_topk_prob", True),
        scale=given(config, "routed_scaling_factor", 1.0),
        groups=groups_of(config, best=2),
        correction_bias=True,
    )


def latent_decoder(config: Config) -> DecoderSpec:
    """Dense, with rotated lanes in adjacent pairs unless config.json says otherwise."""
    interleaved = given(config, "rope_interleave", True)
    return latent.latent_spec(config, latent.latent_of(config, pairs="adjacent" if interleaved else "halves"))


def spec_from_hf(config: Config) -> DecoderSpec:
    return with_experts(latent_decoder(config), config, sigmoid_router(config), sparse_layers(config, 3))


ARCHITECTURE = Architecture(
    names=("DeepseekV3ForCausalLM",),
    model_type="deepseek_v3",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=latent.KEYS | EXPERT_KEYS | {"first_k_dense_replace", "norm_topk_prob", "rope_interleave"},
    ignored_keys=IGNORED,
    fixed_keys={"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc"},
)
