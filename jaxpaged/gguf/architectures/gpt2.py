"""GPT-2: matrices that Hugging Face keeps in [in, out] order."""

from __future__ import annotations

from jaxpaged.gguf.family import GgufFamily, Settings, transposed
from jaxpaged.gguf.metadata import Metadata

LAYER, BLOCK = "transformer.h.{i}", "blk.{i}"
MATRICES = {
    f"{BLOCK}.attn_qkv": f"{LAYER}.attn.c_attn",
    f"{BLOCK}.attn_output": f"{LAYER}.attn.c_proj",
    f"{BLOCK}.ffn_up": f"{LAYER}.mlp.c_fc",
    f"{BLOCK}.ffn_down": f"{LAYER}.mlp.c_proj",
}
NAMES = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    f"{BLOCK}.attn_norm": f"{LAYER}.ln_1",
    f"{BLOCK}.ffn_norm": f"{LAYER}.ln_2",
    **MATRICES,
}


def gpt2_settings(metadata: Metadata) -> Settings:
    return {
        "n_embd": metadata.need("embedding_length"),
        "n_head": metadata.need("attention.head_count"),
        "n_layer": metadata.need("block_count"),
        "n_inner": metadata.get("feed_forward_length"),
        "n_positions": metadata.need("context_length"),
        "layer_norm_epsilon": metadata.get("attention.layer_norm_epsilon"),
        "vocab_size": metadata.rows("token_embd.weight"),
        "tie_word_embeddings": not metadata.has("output.weight"),
    }


GPT2 = GgufFamily("GPT2LMHeadModel", "gpt2", gpt2_settings, NAMES, dict.fromkeys(MATRICES, transposed))
