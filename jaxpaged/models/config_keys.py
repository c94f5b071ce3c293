"""Which keys of config.json change what a model computes where its family does not read them.

Published files also hold the settings of trainers, converters and generation: a key that stands in no table here and in
none of the family is no reason to refuse a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Keys that no model's arithmetic depends on when it serves.
COMMON_KEYS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures auto_map
    attention_dropout attn_pdrop bos_token_id cache_implementation classifier_dropout decoder_start_token_id dropout
    dtype embd_pdrop eos_token_id finetuning_task gradient_checkpointing hidden_dropout id2label initializer_range
    label2id model_type name_or_path output_attentions output_hidden_states pad_token_id prefix problem_type
    resid_pdrop return_dict sep_token_id task_specific_params tokenizer_class torch_dtype torchscript
    transformers_version unk_token_id unsloth_fixed unsloth_version use_cache chunk_size_feed_forward is_decoder
    output_router_logits router_aux_loss_coef
    """.split()
)
# Features of models: each changes the result unless it is off (false, 0, "", [], {}; null always counts as absent).
_OFF = """
    add_cross_attention is_encoder_decoder pruned_heads tie_encoder_decoder
    alibi use_alibi use_xpos no_rope_layers rope_interleave rope_interleaved rotary_interleaved use_dynamic_ntk
    rotary_dim rope_local_base_freq query_pre_attn_scalar
    attention_bias mlp_bias lm_head_bias
    attn_logit_softcap attn_logit_softcapping final_logit_softcap final_logit_softcapping logits_soft_cap
    attention_chunk_size attention_sinks attn_temperature_tuning bidirectional clip_qkv dual_chunk_attention_config
    interleaved_sliding_window softmax_one sparse_attention_config use_attention_sinks use_bidirectional_attention
    use_logn_attn
    qk_layernorm qk_norm query_key_norm use_qk_l2_norm use_qk_norm
    apply_residual_connection_post_layernorm norm_after post_norm sandwich_norm use_post_norm use_sandwich_norm
    parallel_attention parallel_attn parallel_residual use_parallel_block use_parallel_residual
    cla_share_factor num_kv_shared_layers skip_layers use_cla
    n_routed_experts num_experts num_local_experts
    embedding_layernorm layernorm_embedding mup normalize_embeddings scale_attn_by_inverse_layer_idx use_mup
"""
_ONE = """
    attention_in_multiplier attention_multiplier attention_out_multiplier attention_scale attn_scale dim_model_base
    emb_scale embed_scale embedding_multiplier embedding_scale embeddings_scale key_multiplier lm_head_multiplier
    logit_scale logits_multiplier logits_scale logits_scaling mlp_multipliers mup_embeddings_scale mup_output_alpha
    mup_width_scale output_logits_scale partial_rotary_factor residual_multiplier residual_scale rope_ratio
    rotary_pct rotary_percent scale_depth scale_emb softmax_scale width_scale
"""
_ON = "causal is_causal layer_norm_elementwise_affine rotary scale_attn_weights use_rope"
_NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        **dict.fromkeys(_OFF.split(), (False, "", [], {})),
        **dict.fromkeys(_ONE.split(), (1,)),
        **dict.fromkeys(_ON.split(), (True,)),
        "position_embedding_type": ("rope", "rotary", "absolute", "learned_absolute"),
    }
)
_BY_OTHERS = frozenset({"layer_types", "sliding_window"})
DECISIVE_KEYS = frozenset(_NEUTRAL) | _BY_OTHERS


def changes_result(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a key that the family does not read would make another model of it. `config` has passed check_values."""
    value = config[key]
    if key == "layer_types":
        return any(kind != "full_attention" for kind in value)
    if key == "sliding_window":  # one that is never shorter than the context hides nothing
        switched_off = config.get("use_sliding_window") is False
        return not switched_off and 0 < value < (config.get("max_position_embeddings") or value + 1)
    return key in _NEUTRAL and value not in _NEUTRAL[key]
