"""The parity cases of mixtures of experts."""

from typing import Any

from tests.models.case import WINDOW, Case, llama_like


def _experts(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    experts = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
    return llama_like(architecture, model_type, **{**experts, **changes})


_GROUPED = {
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 20,
    "n_group": 3,
    "n_routed_experts": 6,
    "norm_topk_prob": True,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.7,
    "topk_group": 2,
}


def _olmoe(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    return llama_like(architecture, model_type, num_experts=6, num_experts_per_tok=2, pad_token_id=0, **changes)


def _granite(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    granite = {
        "attention_multiplier": 0.4,
        "embedding_multiplier": 6.0,
        "logits_scaling": 3.0,
        "num_experts_per_tok": 2,
        "num_local_experts": 6,
        "residual_multiplier": 0.3,
    }
    return llama_like(architecture, model_type, **{**granite, **changes})


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
    Case(
        "glm4_moe",
        llama_like(
            "Glm4MoeForCausalLM",
            "glm4_moe",
            **_GROUPED,
            attention_bias=True,
            head_dim=16,
            n_shared_experts=2,
            partial_rotary_factor=0.5,
            use_qk_norm=True,
        ),
    ),
    Case(
        "phimoe",
        llama_like(
            "PhimoeForCausalLM",
            "phimoe",
            attention_bias=True,
            lm_head_bias=True,
            num_experts_per_tok=2,
            num_local_experts=6,
            router_jitter_noise=0.2,
            sliding_window=WINDOW,
        ),
    ),
    Case("granitemoe", _granite("GraniteMoeForCausalLM", "granitemoe")),
    Case("granitemoe_shared", _granite("GraniteMoeSharedForCausalLM", "granitemoeshared", shared_intermediate_size=28)),
    Case(
        "ernie4_5_moe",
        llama_like(
            "Ernie4_5_MoeForCausalLM",
            "ernie4_5_moe",
            moe_intermediate_size=20,
            moe_k=2,
            moe_layer_end_index=-1,
            moe_layer_interval=1,
            moe_layer_start_index=1,
            moe_num_experts=6,
            moe_num_shared_experts=1,
        ),
    ),
    Case(
        "minimax_m2",
        llama_like(
            "MiniMaxM2ForCausalLM",
            "minimax_m2",
            head_dim=16,
            num_experts_per_tok=2,
            num_local_experts=6,
            rotary_dim=8,
        ),
    ),
    Case("olmoe", _olmoe("OlmoeForCausalLM", "olmoe", attention_bias=False)),
    Case("flex_olmo", _olmoe("FlexOlmoForCausalLM", "flex_olmo", norm_topk_prob=True)),
    Case(
        "hunyuan_moe",
        llama_like(
            "HunYuanMoEV1ForCausalLM",
            "hunyuan_v1_moe",
            attention_bias=True,
            pad_token_id=0,
            head_dim=16,
            moe_topk=[2] * 3,
            num_experts=6,
        ),
    ),
    Case(
        "exaone_moe",
        llama_like(
            "ExaoneMoeForCausalLM",
            "exaone_moe",
            **{key: value for key, value in _GROUPED.items() if key != "n_routed_experts"},
            num_experts=6,
            num_shared_experts=2,
            sliding_window=WINDOW,
            sliding_window_pattern=2,
        ),
    ),
)
