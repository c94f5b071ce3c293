"""What kind of value each key of config.json has, so that a broken file is refused with its first wrong key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.experts import Experts
from jaxpaged.models.spec import DecoderSpec


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _count_or_zero(value: object) -> bool:
    return _count(value) or (value == 0 and not isinstance(value, bool))


def _count_or_counts(value: object) -> bool:
    return _count(value) or _counts(value)


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _number_or_zero(value: object) -> bool:
    return _number(value) or (value == 0 and not isinstance(value, bool))


def _numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_number, value))


def _layers(value: object) -> bool:
    return isinstance(value, list) and all(map(_count_or_zero, value))


def _zeros_or_ones(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and each in (0, 1) for each in value)


def _pattern(value: object) -> bool:
    return _count(value) or (isinstance(value, str) and bool(value) and set(value) <= {"L", "G"})


def _number_or_off(value: object) -> bool:
    return value == 0 or _number(value)


def _counts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_count, value))


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _switch(value: object) -> bool:
    """Old files say it with a number."""
    return _flag(value) or _count_or_zero(value)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_text, value))


def _object(value: object) -> bool:
    return isinstance(value, Mapping)


Kind = Callable[[object], bool]
_DESCRIBED: Mapping[Kind, str] = {
    _count: "a positive integer",
    _count_or_zero: "an integer, 0 or more",
    _number: "a positive number",
    _number_or_zero: "a number, 0 or more",
    _number_or_off: "a positive number, or false",
    _numbers: "a list of positive numbers",
    _zeros_or_ones: "a list of 0 and 1",
    _pattern: "a positive integer or a text of L and G",
    _integer: "an integer",
    _layers: "a list of layers, the first is 0",
    _counts: "a list of positive integers",
    _count_or_counts: "a positive integer, or a list of them",
    _flag: "true or false",
    _switch: "true or false, or a number",
    _text: "a text",
    _texts: "a list of texts",
    _object: "a JSON object",
}
_KEYS: Mapping[Kind, str] = {
    _count: """
        moe_intermediate_size moe_k moe_layer_interval moe_num_experts n_group n_routed_experts topk_group
        num_experts num_experts_per_tok num_local_experts
        decoder_sparse_step
        global_attn_every_n_layers interleave_moe_layer_step intermediate_size_mlp
        _sliding_window_pattern ffn_dim head_dim hidden_size intermediate_size max_position_embeddings n_ctx n_embd
        n_embed n_head n_inner n_layer n_positions num_attention_heads num_hidden_layers num_key_value_heads
        kv_lora_rank n_group n_routed_experts q_lora_rank qk_nope_head_dim qk_rope_head_dim topk_group v_head_dim
        original_max_position_embeddings rotary_dim seq_length vocab_size
        no_rope_layer_interval
        word_embed_proj_dim
        d_model expansion_ratio ffn_hidden_size kv_channels max_seq_len model_max_length multi_query_group_num n_head_kv
        n_heads n_layers num_kv_heads num_layers num_ln_in_parallel_attn padded_vocab_size
    """,
    _count_or_zero: """
        first_k_dense_replace max_window_layers moe_layer_start_index moe_num_shared_experts n_shared_experts
        shared_intermediate_size sliding_window
        attention_chunk_size num_dense_layers num_shared_experts shared_expert_intermediate_size
    """,
    _integer: "moe_layer_end_index",
    _layers: "mlp_only_layers moe_layers",
    _switch: "attn_temperature_tuning",
    _number: """
        alpha
        logit_scale norm_eps norm_epsilon
        attention_factor attention_multiplier attn_logit_softcapping beta_fast beta_slow embedding_multiplier factor
        final_logit_softcapping high_freq_factor layer_norm_eps layer_norm_epsilon logits_scaling low_freq_factor
        partial_rotary_factor query_pre_attn_scalar residual_multiplier rms_norm_eps
        attn_scale floor_scale route_scale swiglu_alpha swiglu_limit
        rope_local_base_freq rope_theta rotary_emb_base rotary_pct routed_scaling_factor
        alibi_bias_max layernorm_epsilon norm_eps rope_pct rope_ratio softmax_scale
        dim_model_base scale_depth scale_emb
    """,
    _number_or_zero: "llama_4_scaling_beta mscale mscale_all_dim router_jitter_noise",
    _number_or_off: "clip_qkv",
    _numbers: "long_factor short_factor",
    _zeros_or_ones: "no_rope_layers",
    _pattern: "sliding_window_pattern",
    _counts: "num_key_value_heads_per_layer",
    _count_or_counts: "moe_topk",
    _flag: """
        mup_enabled
        attention_out_bias qk_layernorm use_bias use_qk_norm
        _remove_final_layer_norm attention_bias do_layer_norm_before enable_bias finetuned mlp_bias tie_word_embeddings
        norm_topk_prob qkv_bias rope_interleave truncate lm_head_bias use_parallel_residual use_sliding_window
        add_bias_linear add_qkv_bias alibi bias multi_query multi_query_attention new_decoder_architecture parallel_attn
        post_layer_norm use_dynamic_ntk use_logn_attn use_qkv_bias
    """,
    _text: """
        activation activation_function hidden_act hidden_activation model_type norm_type rope_type topk_method type
    """,
    _texts: "architectures layer_types mlp_layer_types",
    _object: "attn_config full_attention rope_parameters rope_scaling sliding_attention text_config",
}
KINDS: Mapping[str, Kind] = {key: kind for kind, keys in _KEYS.items() for key in keys.split()}


def check_values(config: Mapping[str, Any], where: str = "config.json") -> None:
    """Refuse, by name, a value of the wrong kind; null counts as absent. Raises UnsupportedModelError."""
    for key, value in config.items():
        kind = KINDS.get(key)
        if kind is None or value is None:
            continue
        if not kind(value):
            raise UnsupportedModelError(
                f"{where} has {key}={value!r}, which should be {_DESCRIBED[kind]}; fetch the file again."
            )
        if kind is _object:
            check_values(value, f"{key} of {where}")


def check_spec(spec: DecoderSpec) -> None:
    """Refuse sizes that cannot go together. Raises UnsupportedModelError."""
    for mixer in dict.fromkeys(layer.mixer for layer in spec.layers):
        mixer.check()
    for ffn in dict.fromkeys(layer.ffn for layer in spec.layers):
        if isinstance(ffn, Experts):
            ffn.check()
