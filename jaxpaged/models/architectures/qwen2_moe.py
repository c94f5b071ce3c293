"""Qwen 2 and 1.5 MoE: Qwen 2 with experts in most layers, and one beside them for every token, behind a gate."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, qwen2
from jaxpaged.models.expert_rules import BLOCK, expert_rules, shared_rules
from jaxpaged.models.experts import Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, need, need_one
from jaxpaged.models.spec import DecoderSpec, GatedMLP
from jaxpaged.models.weight_rules import Rule, WeightRules

WEIGHTS = WeightRules(
    (
        *llama.RULES,
        *expert_rules(),
        *shared_rules("shared_expert"),
        Rule(f"{BLOCK}.shared_expert_gate.weight", "layers.{i}.ffn.shared_gate"),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)
EXPERT_KEYS = frozenset(
    {
        "decoder_sparse_step",
        "mlp_only_layers",
        "moe_intermediate_size",
        "norm_topk_prob",
        "num_experts",
        "num_experts_per_tok",
        "num_local_experts",
    }
)


def with_experts(spec: DecoderSpec, config: Config, shared: SharedExperts | None = None) -> DecoderSpec:
    """The spec with experts in place of the dense part, in those layers where the config says so."""
    router = Router(
        need_one(config, "num_experts", "num_local_experts"),
        need(config, "num_experts_per_tok"),
        renormalize=given(config, "norm_topk_prob", False),
    )
    size, activation = need(config, "moe_intermediate_size"), activation_of(config, "hidden_act", "silu")
    step, dense = given(config, "decoder_sparse_step", 1), set(given(config, "mlp_only_layers", ()))
    sparse = [i for i in range(len(spec.layers)) if i not in dense and (i + 1) % step == 0]
    return spec.with_ffn(Experts(router, size, activation, shared=shared), sparse)


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config).with_mixers(qkv_bias=given(config, "qkv_bias", True), out_bias=False)
    size = need(config, "shared_expert_intermediate_size")
    shared = SharedExperts(GatedMLP(size, activation_of(config, "hidden_act", "silu")), gated=True) if size else None
    return with_experts(qwen2.with_windows(spec, config), config, shared)


ARCHITECTURE = Architecture(
    names=("Qwen2MoeForCausalLM",),
    model_type="qwen2_moe",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=llama.KEYS | qwen2.WINDOW_KEYS | EXPERT_KEYS | {"qkv_bias", "shared_expert_intermediate_size"},
)
