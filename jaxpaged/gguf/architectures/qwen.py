"""Qwen 2 and 3: Llama's names, rotated as Hugging Face does."""

from __future__ import annotations

from jaxpaged.gguf.architectures.llama import BLOCK, LAYER, NAMES, common_settings
from jaxpaged.gguf.family import GgufFamily, Settings
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.rope import rope_settings

QK_NORMS = {
    f"{BLOCK}.attn_q_norm": f"{LAYER}.self_attn.q_norm",
    f"{BLOCK}.attn_k_norm": f"{LAYER}.self_attn.k_norm",
}


def qwen2_settings(metadata: Metadata) -> Settings:
    return {**common_settings(metadata), **rope_settings(metadata)}


def qwen3_settings(metadata: Metadata) -> Settings:
    return {**qwen2_settings(metadata), "head_dim": metadata.get("attention.key_length")}


QWEN2 = GgufFamily("Qwen2ForCausalLM", "qwen2", qwen2_settings, NAMES)
QWEN3 = GgufFamily("Qwen3ForCausalLM", "qwen3", qwen3_settings, {**NAMES, **QK_NORMS})
