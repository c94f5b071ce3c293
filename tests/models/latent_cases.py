"""The parity cases of families with latent attention."""

from typing import Any

from tests.models.case import LONGEST, ORIGINAL, Case, llama_like

# Queries and keys of 12 + 8 lanes, values of 10: no two sizes are alike.
_LATENT = {
    "q_lora_rank": 28,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
}

_EXPERTS = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
}
_GROUPS = {"n_group": 4, "topk_group": 2}


def _yarn(mscale: float, mscale_all_dim: float) -> dict[str, Any]:
    return {
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "mscale": mscale,
        "mscale_all_dim": mscale_all_dim,
    }


def _latent(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    return llama_like(architecture, model_type, **{**_LATENT, **changes})


LATENT = (
    Case(
        "minicpm3",
        _latent(
            "MiniCPM3ForCausalLM",
            "minicpm3",
            scale_emb=6.0,
            scale_depth=1.1,
            dim_model_base=16,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_scaling={
                "type": "longrope",
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [1.0, 1.5, 2.5, 4.0],
                "original_max_position_embeddings": ORIGINAL,
            },
        ),
    ),
    # A dense layer, then two with experts.
    Case(
        "deepseek_v3",
        _latent(
            "DeepseekV3ForCausalLM",
            "deepseek_v3",
            **_EXPERTS,
            **_GROUPS,
            num_hidden_layers=3,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            attention_bias=True,
            rope_scaling=_yarn(1.0, 0.7),
        ),
    ),
    # Queries without a latent of their own.
    Case(
        "deepseek_v2",
        _latent(
            "DeepseekV2ForCausalLM",
            "deepseek_v2",
            **{**_EXPERTS, **_GROUPS, "q_lora_rank": None},
            first_k_dense_replace=1,
            topk_method="group_limited_greedy",
            rope_scaling=_yarn(0.7, 0.7),
        ),
    ),
    Case(
        "glm4_moe_lite",
        _latent(
            "Glm4MoeLiteForCausalLM",
            "glm4_moe_lite",
            **_EXPERTS,
            n_group=1,
            topk_group=1,
            norm_topk_prob=False,
            first_k_dense_replace=1,
            mlp_layer_types=["sparse", "dense"],
            rope_interleave=False,
        ),
    ),
    # Positions beyond the original length, where queries grow.
    Case(
        "mistral4",
        _latent(
            "Mistral4ForCausalLM",
            "mistral4",
            **_EXPERTS,
            **_GROUPS,
            first_k_dense_replace=0,
            attention_bias=True,
            norm_topk_prob=True,
            rope_parameters={
                **_yarn(1.0, 1.0),
                "rope_theta": 10000.0,
                "max_position_embeddings": LONGEST,
                "llama_4_scaling_beta": 0.4,
                "partial_rotary_factor": 0.4,
            },
        ),
    ),
)
