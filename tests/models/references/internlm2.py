"""InternLM 2 (arXiv 2403.17297): its wqkv holds, for each key-value head, its queries, its key and its value."""

from __future__ import annotations

from collections.abc import Mapping

from tests.models.references.llama import Config
from tests.models.references.parts import Array, attend, gated_mlp, rms_norm, turn


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    hidden, vocab, inner = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    fused = hidden + 2 * config["num_key_value_heads"] * hidden // config["num_attention_heads"]
    layer: dict[str, tuple[int, ...]] = {
        "attention.wqkv.weight": (fused, hidden),
        "attention.wqkv.bias": (fused,),
        "attention.wo.weight": (hidden, hidden),
        "attention.wo.bias": (hidden,),
        "feed_forward.w1.weight": (inner, hidden),
        "feed_forward.w2.weight": (hidden, inner),
        "feed_forward.w3.weight": (inner, hidden),
        "attention_norm.weight": (hidden,),
        "ffn_norm.weight": (hidden,),
    }
    outer = {"model.tok_embeddings.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    count = config["num_hidden_layers"]
    layers = {f"model.layers.{i}.{name}": shape for i in range(count) for name, shape in layer.items()}
    return {**outer, "output.weight": (vocab, hidden), **layers}


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    groups, dim = config["num_key_value_heads"], config["hidden_size"] // config["num_attention_heads"]
    eps, theta = config["rms_norm_eps"], config["rope_theta"]
    x = w["model.tok_embeddings.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = {name.removeprefix(f"model.layers.{i}."): array for name, array in w.items()}
        packed = rms_norm(x, at["attention_norm.weight"], eps) @ at["attention.wqkv.weight"].T
        by_group = (packed + at["attention.wqkv.bias"]).reshape(len(tokens), groups, -1, dim)
        q = by_group[:, :, :-2].reshape(len(tokens), -1, dim)
        attended = attend(turn(q, theta), turn(by_group[:, :, -2], theta), by_group[:, :, -1])
        x = x + attended @ at["attention.wo.weight"].T + at["attention.wo.bias"]
        gate, up, down = (at[f"feed_forward.{name}.weight"] for name in ("w1", "w3", "w2"))
        x = x + gated_mlp(rms_norm(x, at["ffn_norm.weight"], eps), gate, up, down)
    return rms_norm(x, w["model.norm.weight"], eps) @ w["output.weight"].T
