"""BLOOM: fused like GPT-NeoX, and a head that is always the embedding, even where the file holds a copy of it."""

from __future__ import annotations

from jaxpaged.gguf.family import GgufFamily, Settings, head_by_head
from jaxpaged.gguf.metadata import Metadata

LAYER, BLOCK = "transformer.h.{i}", "blk.{i}"
NAMES = {
    "token_embd": "transformer.word_embeddings",
    "token_embd_norm": "transformer.word_embeddings_layernorm",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    f"{BLOCK}.attn_norm": f"{LAYER}.input_layernorm",
    f"{BLOCK}.ffn_norm": f"{LAYER}.post_attention_layernorm",
    f"{BLOCK}.attn_qkv": f"{LAYER}.self_attention.query_key_value",
    f"{BLOCK}.attn_output": f"{LAYER}.self_attention.dense",
    f"{BLOCK}.ffn_up": f"{LAYER}.mlp.dense_h_to_4h",
    f"{BLOCK}.ffn_down": f"{LAYER}.mlp.dense_4h_to_h",
}


def bloom_settings(metadata: Metadata) -> Settings:
    return {
        "hidden_size": metadata.need("embedding_length"),
        "n_head": metadata.need("attention.head_count"),
        "n_layer": metadata.need("block_count"),
        "seq_length": metadata.need("context_length"),
        "layer_norm_epsilon": metadata.get("attention.layer_norm_epsilon"),
        "vocab_size": metadata.rows("token_embd.weight"),
        "tie_word_embeddings": True,
    }


BLOOM = GgufFamily("BloomForCausalLM", "bloom", bloom_settings, NAMES, {f"{BLOCK}.attn_qkv": head_by_head("n_head")})
