"""Parity cases of the parts of attention: sinks, chunks, temperature, gates."""

from tests.models.case import LONGEST, ORIGINAL, WINDOW, Case, llama_like

CHUNK = 12

_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": ORIGINAL,
}
_MINISTRAL = {
    "rope_theta": 1000000.0,
    **_YARN,
    "original_max_position_embeddings": 8,
    "factor": 16.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.4,
    "max_position_embeddings": LONGEST,
}

ATTENTION = (
    Case(
        "ministral3",
        llama_like("Ministral3ForCausalLM", "ministral3", num_hidden_layers=2, head_dim=16, rope_parameters=_MINISTRAL),
    ),
    Case(
        "gpt_oss",
        llama_like(
            "GptOssForCausalLM",
            "gpt_oss",
            num_hidden_layers=2,
            head_dim=16,
            intermediate_size=40,
            sliding_window=WINDOW,
            attention_bias=True,
            num_local_experts=5,
            num_experts_per_tok=2,
            swiglu_limit=1.5,
            rope_theta=150000.0,
            rope_scaling={**_YARN, "truncate": False},
        ),
    ),
    Case(
        "llama4",
        llama_like(
            "Llama4ForCausalLM",
            "llama4_text",
            num_hidden_layers=4,
            head_dim=16,
            intermediate_size=40,
            intermediate_size_mlp=56,
            num_local_experts=5,
            num_experts_per_tok=1,
            interleave_moe_layer_step=2,
            attention_chunk_size=CHUNK,
            floor_scale=8,
            attn_scale=0.4,
            attn_temperature_tuning=True,
            use_qk_norm=True,
        ),
    ),
    Case(
        "afmoe",
        llama_like(
            "AfmoeForCausalLM",
            "afmoe",
            head_dim=16,
            moe_intermediate_size=32,
            num_dense_layers=1,
            num_experts=6,
            num_experts_per_tok=3,
            num_shared_experts=2,
            route_scale=1.7,
            mup_enabled=True,
            global_attn_every_n_layers=3,
            sliding_window=WINDOW,
        ),
    ),
)
