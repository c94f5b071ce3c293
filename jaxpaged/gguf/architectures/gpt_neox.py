"""GPT-NeoX and Pythia: queries, keys and values one below the other, where Hugging Face has them head by head."""

from __future__ import annotations

from jaxpaged.gguf.family import GgufFamily, Settings, head_by_head
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.rope import rope_settings

LAYER, BLOCK = "gpt_neox.layers.{i}", "blk.{i}"
NAMES = {
    "token_embd": "gpt_neox.embed_in",
    "output_norm": "gpt_neox.final_layer_norm",
    "output": "embed_out",
    f"{BLOCK}.attn_norm": f"{LAYER}.input_layernorm",
    f"{BLOCK}.ffn_norm": f"{LAYER}.post_attention_layernorm",
    f"{BLOCK}.attn_qkv": f"{LAYER}.attention.query_key_value",
    f"{BLOCK}.attn_output": f"{LAYER}.attention.dense",
    f"{BLOCK}.ffn_up": f"{LAYER}.mlp.dense_h_to_4h",
    f"{BLOCK}.ffn_down": f"{LAYER}.mlp.dense_4h_to_h",
}


def neox_settings(metadata: Metadata) -> Settings:
    hidden, heads = metadata.need("embedding_length"), metadata.need("attention.head_count")
    rope, head_dim = rope_settings(metadata), max(1, hidden // heads)
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata.need("block_count"),
        "intermediate_size": metadata.need("feed_forward_length"),
        "hidden_act": "gelu",
        "layer_norm_eps": metadata.get("attention.layer_norm_epsilon"),
        "max_position_embeddings": metadata.need("context_length"),
        "rotary_emb_base": rope.pop("rope_theta"),
        "rotary_pct": metadata.need("rope.dimension_count", head_dim) / head_dim,
        "use_parallel_residual": metadata.get("use_parallel_residual", True),
        "vocab_size": metadata.rows("token_embd.weight"),
        "tie_word_embeddings": not metadata.has("output.weight"),
        **rope,
    }


GPT_NEOX = GgufFamily(
    "GPTNeoXForCausalLM",
    "gpt_neox",
    neox_settings,
    NAMES,
    {f"{BLOCK}.attn_qkv": head_by_head("num_attention_heads")},
)
