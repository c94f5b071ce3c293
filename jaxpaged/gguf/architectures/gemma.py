"""Gemma 2 and 3: norms before and after, whose weights the conversion stores around one."""

from __future__ import annotations

from jaxpaged.gguf.architectures.llama import BLOCK, LAYER, NAMES, common_settings
from jaxpaged.gguf.architectures.qwen import QK_NORMS
from jaxpaged.gguf.family import GgufFamily, Settings, around_zero
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.rope import rope_settings

SANDWICH = {
    **NAMES,
    f"{BLOCK}.post_attention_norm": f"{LAYER}.post_attention_layernorm",
    f"{BLOCK}.ffn_norm": f"{LAYER}.pre_feedforward_layernorm",
    f"{BLOCK}.post_ffw_norm": f"{LAYER}.post_feedforward_layernorm",
}
GEMMA3_NAMES = {**SANDWICH, **QK_NORMS}
# The only sizes whose scores are scaled by something else than the size of a head; the file does not say so.
LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
GLOBAL_THETA, LOCAL_THETA = 1_000_000.0, 10_000.0


def gemma2_settings(metadata: Metadata) -> Settings:
    return {
        **_settings(metadata),
        **rope_settings(metadata),
        "attn_logit_softcapping": metadata.get("attn_logit_softcapping"),
        "final_logit_softcapping": metadata.get("final_logit_softcapping"),
    }


def gemma3_settings(metadata: Metadata) -> Settings:
    return {
        **_settings(metadata),
        **rope_settings(metadata, GLOBAL_THETA),
        "rope_local_base_freq": metadata.get("rope.freq_base_swa", LOCAL_THETA),
        "final_logit_softcapping": metadata.get("final_logit_softcapping"),
        **_layer_kinds(metadata.all.get("gemma3.attention.sliding_window_pattern")),
    }


def _settings(metadata: Metadata) -> Settings:
    settings = common_settings(metadata)
    hidden, heads = settings["hidden_size"], settings["num_attention_heads"]
    head_dim = metadata.get("attention.key_length")
    is_27b = settings["num_hidden_layers"] == LAYERS_OF_27B[metadata.architecture]
    return {
        **settings,
        "head_dim": head_dim,
        "query_pre_attn_scalar": hidden // heads if is_27b else head_dim,
        "sliding_window": metadata.get("attention.sliding_window"),
    }


def _layer_kinds(pattern: object) -> Settings:
    """Every n-th layer is global, or a flag per layer for those that are not."""
    if isinstance(pattern, list):
        return {"layer_types": ["sliding_attention" if local else "full_attention" for local in pattern]}
    return {"sliding_window_pattern": pattern}


GEMMA2 = GgufFamily(
    "Gemma2ForCausalLM",
    "gemma2",
    gemma2_settings,
    SANDWICH,
    {name: around_zero for name in SANDWICH if name.endswith("_norm")},
)
GEMMA3 = GgufFamily(
    "Gemma3ForCausalLM",
    "gemma3_text",
    gemma3_settings,
    GEMMA3_NAMES,
    {name: around_zero for name in GEMMA3_NAMES if name.endswith("_norm")},
)
