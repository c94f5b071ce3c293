"""MiniMax-M2: norms over all queries and keys of a token, partial rotary positions, experts by corrected sigmoids."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, mixtral
from jaxpaged.models.experts import Experts, Router
from jaxpaged.models.head_norms import AcrossHeads
from jaxpaged.models.hf_config import activation_of, given, head_dim_of, need, rope_of
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules

CORRECTION = "model.layers.{i}.block_sparse_moe.e_score_correction_bias"
WEIGHTS = WeightRules(
    (*mixtral.WEIGHTS.rules, Rule(CORRECTION, "layers.{i}.ffn.router.correction")),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    dim = head_dim_of(config)
    share = given(config, "rotary_dim", dim) / dim
    spec = llama.llama_spec(config, dim, rope_of(config, dim, rotated=share))
    router = Router(
        need(config, "num_local_experts"), need(config, "num_experts_per_tok"), scores="sigmoid", correction_bias=True
    )
    experts = Experts(router, need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"))
    return spec.with_mixers(qk_norm=AcrossHeads(given(config, "rms_norm_eps", 1e-6))).with_ffn(experts)


ARCHITECTURE = Architecture(
    names=("MiniMaxM2ForCausalLM",),
    model_type="minimax_m2",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | {"num_experts_per_tok", "num_local_experts", "rotary_dim"},
    ignored_keys=frozenset({"router_jitter_noise"}),
    fixed_keys={"scoring_func": "sigmoid", "use_qk_norm": True, "qk_norm_type": "per_layer", "use_routing_bias": True},
)
