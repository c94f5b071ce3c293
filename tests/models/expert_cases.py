"""The parity cases of mixtures of experts."""

from typing import Any

from tests.models.case import WINDOW, Case, llama_like


def _experts(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    experts = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
    return llama_like(architecture, model_type, **{**experts, **changes})


EXPERTS = (
    Case(
        "mixtral",
        llama_like("MixtralForCausalLM", "mixtral", num_local_experts=5, num_experts_per_tok=2, sliding_window=WINDOW),
    ),
    Case(
        "qwen2_moe",
        _experts(
            "Qwen2MoeForCausalLM",
            "qwen2_moe",
            num_experts_per_tok=3,
            norm_topk_prob=False,
            decoder_sparse_step=2,
            shared_expert_intermediate_size=28,
        ),
    ),
    Case(
        "qwen3_moe",
        _experts("Qwen3MoeForCausalLM", "qwen3_moe", head_dim=16, norm_topk_prob=True, mlp_only_layers=[1]),
    ),
)
