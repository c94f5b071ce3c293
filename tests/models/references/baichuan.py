"""Baichuan 1 and 2, from their technical report (arXiv 2309.10305) and the names in the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn

Config = Mapping[str, Any]
SLOPES_OF_6 = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    layer = {
        "self_attn.W_pack": (3 * hidden, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    return {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocab, hidden),
        **{
            f"model.layers.{i}.{name}.weight": shape
            for i in range(config["num_hidden_layers"])
            for name, shape in layer.items()
        },
    }


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    heads, eps = config["num_attention_heads"], config["rms_norm_eps"]
    rotary = "max_position_embeddings" in config
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = {name.split(f"layers.{i}.")[1]: array for name, array in w.items() if f"layers.{i}." in name}
        packed = rms_norm(x, at["input_layernorm.weight"], eps) @ at["self_attn.W_pack.weight"].T
        q, k, v = (part.reshape(len(tokens), heads, -1) for part in np.split(packed, 3, axis=1))
        if rotary:
            q, k = turn(q, 10000.0), turn(k, 10000.0)
        x = x + attend(q, k, v, None if rotary else SLOPES_OF_6) @ at["self_attn.o_proj.weight"].T
        normed = rms_norm(x, at["post_attention_layernorm.weight"], eps)
        x = x + gated_mlp(normed, *(at[f"mlp.{part}_proj.weight"] for part in ("gate", "up", "down")))
    head = w["lm_head.weight"]
    if config["vocab_size"] == 125696:  # NormHead
        head = head / np.sqrt((head * head).sum(-1, keepdims=True))
    return rms_norm(x, w["model.norm.weight"], eps) @ head.T
