"""Llama (arXiv 2302.13971), and what its relatives add: biases, layer norms with a bias, scales of MiniCPM's paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn

Config = Mapping[str, Any]
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj")


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, vocab, inner = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    dim = hidden // config["num_attention_heads"]
    wide, narrow = hidden, dim * config["num_key_value_heads"]
    norms, mlp = ("input_layernorm", "post_attention_layernorm"), ("gate_proj", "up_proj")
    layer: dict[str, tuple[int, ...]] = {f"{norm}.weight": (hidden,) for norm in norms}
    rows = dict(zip(MATRICES, (wide, narrow, narrow, wide), strict=True))
    layer |= {f"self_attn.{name}.weight": (count, hidden) for name, count in rows.items()}
    layer |= {f"mlp.{name}.weight": (inner, hidden) for name in mlp} | {"mlp.down_proj.weight": (hidden, inner)}
    if config["model_type"] == "orion":
        layer |= {f"{norm}.bias": (hidden,) for norm in norms}
    if config.get("qkv_bias"):
        layer |= {f"self_attn.{name}.bias": layer[f"self_attn.{name}.weight"][:1] for name in MATRICES[:3]}
    if config.get("bias"):
        layer |= {"self_attn.o_proj.bias": (hidden,), "mlp.down_proj.bias": (hidden,)}
        layer |= {f"mlp.{name}.bias": (inner,) for name in mlp}
    outer = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    outer |= {"model.norm.bias": (hidden,)} if config["model_type"] == "orion" else {}
    outer |= {} if config["tie_word_embeddings"] else {"lm_head.weight": (vocab, hidden)}
    count = config["num_hidden_layers"]
    return outer | {f"model.layers.{i}.{name}": shape for i in range(count) for name, shape in layer.items()}


def norm(x: Array, w: Mapping[str, Array], name: str, eps: float) -> Array:
    if f"{name}.bias" not in w:
        return rms_norm(x, w[f"{name}.weight"], eps)
    return rms_norm(x - x.mean(-1, keepdims=True), w[f"{name}.weight"], eps) + w[f"{name}.bias"]


def project(x: Array, w: Mapping[str, Array], name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    count, eps, theta = config["num_hidden_layers"], config["rms_norm_eps"], config["rope_theta"]
    branch = config.get("scale_depth", count**0.5) / count**0.5
    x = w["model.embed_tokens.weight"][tokens] * config.get("scale_emb", 1)
    for i in range(count):
        at = {name.removeprefix(f"model.layers.{i}."): array for name, array in w.items()}
        normed = norm(x, at, "input_layernorm", eps)
        q, k, v = (project(normed, at, f"self_attn.{name}") for name in MATRICES[:3])
        q, k, v = (part.reshape(len(x), -1, x.shape[1] // config["num_attention_heads"]) for part in (q, k, v))
        x = x + branch * project(attend(turn(q, theta), turn(k, theta), v), at, "self_attn.o_proj")
        x = x + branch * mlp(norm(x, at, "post_attention_layernorm", eps), at)
    x = norm(x, w, "model.norm", eps) * config.get("dim_model_base", x.shape[1]) / x.shape[1]
    return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def mlp(x: Array, w: Mapping[str, Array]) -> Array:
    if "mlp.gate_proj.bias" not in w:
        return gated_mlp(x, *(w[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down")))
    gate, up = project(x, w, "mlp.gate_proj"), project(x, w, "mlp.up_proj")
    return project(gate / (1 + np.exp(-gate)) * up, w, "mlp.down_proj")
