"""Qwen 1, from its technical report (arXiv 2309.16609) and the names in the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn

Config = Mapping[str, Any]


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, vocab, inner = config["hidden_size"], config["vocab_size"], config["intermediate_size"] // 2
    wide = config["kv_channels"] * config["num_attention_heads"]
    layer = {
        "ln_1.weight": (hidden,),
        "attn.c_attn.weight": (3 * wide, hidden),
        "attn.c_attn.bias": (3 * wide,),
        "attn.c_proj.weight": (hidden, wide),
        "ln_2.weight": (hidden,),
        "mlp.w1.weight": (inner, hidden),
        "mlp.w2.weight": (inner, hidden),
        "mlp.c_proj.weight": (hidden, inner),
    }
    return {
        "transformer.wte.weight": (vocab, hidden),
        "transformer.ln_f.weight": (hidden,),
        "lm_head.weight": (vocab, hidden),
        **{
            f"transformer.h.{i}.{name}": shape
            for i in range(config["num_hidden_layers"])
            for name, shape in layer.items()
        },
    }


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    heads, eps, theta = config["num_attention_heads"], config["layer_norm_epsilon"], config["rotary_emb_base"]
    x = w["transformer.wte.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = {name.split(f".h.{i}.")[1]: array for name, array in w.items() if f".h.{i}." in name}
        packed = rms_norm(x, at["ln_1.weight"], eps) @ at["attn.c_attn.weight"].T + at["attn.c_attn.bias"]
        q, k, v = (part.reshape(len(tokens), heads, -1) for part in np.split(packed, 3, axis=1))
        x = x + attend(turn(q, theta), turn(k, theta), v) @ at["attn.c_proj.weight"].T
        # The second matrix is activated, the first is not.
        gate, up, down = at["mlp.w2.weight"], at["mlp.w1.weight"], at["mlp.c_proj.weight"]
        x = x + gated_mlp(rms_norm(x, at["ln_2.weight"], eps), gate, up, down)
    return rms_norm(x, w["transformer.ln_f.weight"], eps) @ w["lm_head.weight"].T
