"""ChatGLM 2 and 3 and glm-4-9b, from the GLM report (arXiv 2406.12793) and the names in the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn

Config = Mapping[str, Any]


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, vocab, inner = config["hidden_size"], config["padded_vocab_size"], config["ffn_hidden_size"]
    wide = config["kv_channels"] * config["num_attention_heads"]
    fused = wide + 2 * config["kv_channels"] * config["multi_query_group_num"]
    layer = {
        "input_layernorm.weight": (hidden,),
        "self_attention.query_key_value.weight": (fused, hidden),
        "self_attention.query_key_value.bias": (fused,),
        "self_attention.dense.weight": (hidden, wide),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.dense_h_to_4h.weight": (2 * inner, hidden),
        "mlp.dense_4h_to_h.weight": (hidden, inner),
    }
    return {
        "transformer.embedding.word_embeddings.weight": (vocab, hidden),
        "transformer.encoder.final_layernorm.weight": (hidden,),
        "transformer.output_layer.weight": (vocab, hidden),
        **{
            f"transformer.encoder.layers.{i}.{name}": shape
            for i in range(config["num_layers"])
            for name, shape in layer.items()
        },
    }


def _half_turned(x: Array, theta: float) -> Array:
    half = x.shape[-1] // 2
    return np.concatenate([turn(x[..., :half], theta, adjacent=True), x[..., half:]], axis=-1)


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    dim, groups, eps = config["kv_channels"], config["multi_query_group_num"], config["layernorm_epsilon"]
    wide, theta = dim * config["num_attention_heads"], 10000.0 * config["rope_ratio"]
    x = w["transformer.embedding.word_embeddings.weight"][tokens]
    for i in range(config["num_layers"]):
        at = {name.split(f"layers.{i}.")[1]: array for name, array in w.items() if f"layers.{i}." in name}
        normed = rms_norm(x, at["input_layernorm.weight"], eps)
        fused = normed @ at["self_attention.query_key_value.weight"].T + at["self_attention.query_key_value.bias"]
        split = np.split(fused, [wide, wide + dim * groups], axis=1)
        q, k, v = (part.reshape(len(tokens), -1, dim) for part in split)
        attended = attend(_half_turned(q, theta), _half_turned(k, theta), v)
        x = x + attended @ at["self_attention.dense.weight"].T
        normed = rms_norm(x, at["post_attention_layernorm.weight"], eps)
        gate, up = np.split(at["mlp.dense_h_to_4h.weight"], 2)
        x = x + gated_mlp(normed, gate, up, at["mlp.dense_4h_to_h.weight"])
    normed = rms_norm(x, w["transformer.encoder.final_layernorm.weight"], eps)
    return normed @ w["transformer.output_layer.weight"].T
