"""DeciLM-7B: Llama with a number of key-value heads for each layer, from its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn

Config = Mapping[str, Any]


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    dim = hidden // config["num_attention_heads"]
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocab, hidden),
    }
    for i, kv_heads in enumerate(config["num_key_value_heads_per_layer"]):
        layer = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv_heads * dim, hidden),
            "self_attn.v_proj": (kv_heads * dim, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        found |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return found


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    heads, eps, theta = config["num_attention_heads"], config["rms_norm_eps"], config["rope_theta"]
    x = w["model.embed_tokens.weight"][tokens]
    for i, kv_heads in enumerate(config["num_key_value_heads_per_layer"]):
        at = {name.split(f"layers.{i}.")[1]: array for name, array in w.items() if f"layers.{i}." in name}
        normed = rms_norm(x, at["input_layernorm.weight"], eps)
        counts = {"q": heads, "k": kv_heads, "v": kv_heads}
        q, k, v = (
            (normed @ at[f"self_attn.{part}_proj.weight"].T).reshape(len(tokens), count, -1)
            for part, count in counts.items()
        )
        x = x + attend(turn(q, theta), turn(k, theta), v) @ at["self_attn.o_proj.weight"].T
        normed = rms_norm(x, at["post_attention_layernorm.weight"], eps)
        x = x + gated_mlp(normed, *(at[f"mlp.{part}_proj.weight"] for part in ("gate", "up", "down")))
    return rms_norm(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T
