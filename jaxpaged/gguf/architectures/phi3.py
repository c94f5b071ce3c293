"""Phi-3 and Phi-4: Llama with fused tensors."""

from __future__ import annotations

from jaxpaged.gguf.architectures.llama import BLOCK, LAYER, NAMES, common_settings
from jaxpaged.gguf.family import GgufFamily, Settings
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.rope import rope_settings

SINGLE = {f"{BLOCK}.{part}" for part in ("attn_q", "attn_k", "attn_v", "ffn_gate")}
FUSED = {
    f"{BLOCK}.attn_qkv": f"{LAYER}.self_attn.qkv_proj",
    f"{BLOCK}.ffn_up": f"{LAYER}.mlp.gate_up_proj",
}


def phi3_settings(metadata: Metadata) -> Settings:
    settings = common_settings(metadata)
    head_dim = max(1, settings["hidden_size"] // settings["num_attention_heads"])
    return {
        **settings,
        **rope_settings(metadata),
        "partial_rotary_factor": metadata.need("rope.dimension_count", head_dim) / head_dim,
        "sliding_window": metadata.get("attention.sliding_window") or None,
    }


PHI3 = GgufFamily(
    "Phi3ForCausalLM",
    "phi3",
    phi3_settings,
    {**{name: target for name, target in NAMES.items() if name not in SINGLE}, **FUSED},
)
