"""Llama and what keeps its names: Mistral, SmolLM, TinyLlama, Yi, Qwen, Granite."""

from __future__ import annotations

from jaxpaged.gguf.family import GgufFamily, Settings, halves
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.rope import rope_settings

LAYER, BLOCK = "model.layers.{i}", "blk.{i}"
ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    f"{BLOCK}.attn_norm": f"{LAYER}.input_layernorm",
    f"{BLOCK}.attn_q": f"{LAYER}.self_attn.q_proj",
    f"{BLOCK}.attn_k": f"{LAYER}.self_attn.k_proj",
    f"{BLOCK}.attn_v": f"{LAYER}.self_attn.v_proj",
    f"{BLOCK}.attn_output": f"{LAYER}.self_attn.o_proj",
    f"{BLOCK}.ffn_norm": f"{LAYER}.post_attention_layernorm",
    f"{BLOCK}.ffn_gate": f"{LAYER}.mlp.gate_proj",
    f"{BLOCK}.ffn_up": f"{LAYER}.mlp.up_proj",
    f"{BLOCK}.ffn_down": f"{LAYER}.mlp.down_proj",
}
NAMES = {**ENDS, **LAYER_NAMES}
# Llama's conversion puts the two numbers that are rotated together side by side.
UNDO = {
    f"{BLOCK}.attn_q": halves("num_attention_heads"),
    f"{BLOCK}.attn_k": halves("num_key_value_heads"),
}


def common_settings(metadata: Metadata) -> Settings:
    """What every model of Llama's form has; no biases, rotary positions or size of a head."""
    heads = metadata.need("attention.head_count")
    return {
        "hidden_size": metadata.need("embedding_length"),
        "intermediate_size": metadata.need("feed_forward_length"),
        "num_hidden_layers": metadata.need("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("attention.head_count_kv", heads),
        "rms_norm_eps": metadata.get("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": metadata.need("context_length"),
        "vocab_size": metadata.rows("token_embd.weight"),
        "tie_word_embeddings": not metadata.has("output.weight"),
    }


def llama_settings(metadata: Metadata) -> Settings:
    return {
        **common_settings(metadata),
        **rope_settings(metadata),
        "head_dim": metadata.get("attention.key_length", metadata.get("rope.dimension_count")),
        "attention_bias": metadata.has("blk.0.attn_output.bias"),
        "mlp_bias": metadata.has("blk.0.ffn_down.bias"),
    }


def granite_settings(metadata: Metadata) -> Settings:
    return {
        **llama_settings(metadata),
        "attention_multiplier": metadata.get("attention.scale"),
        "embedding_multiplier": metadata.get("embedding_scale"),
        "residual_multiplier": metadata.get("residual_scale"),
        "logits_scaling": metadata.get("logit_scale"),
    }


LLAMA = GgufFamily("LlamaForCausalLM", "llama", llama_settings, NAMES, UNDO)
GRANITE = GgufFamily("GraniteForCausalLM", "granite", granite_settings, NAMES, UNDO, refused=("expert_count",))
