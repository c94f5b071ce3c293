"""EXAONE 3 (arXiv 2408.03541), in the names of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

from tests.models.references import llama
from tests.models.references.llama import Config
from tests.models.references.parts import Array

NAMES = {
    "model.layers.": "transformer.h.",
    "model.embed_tokens": "transformer.wte",
    "model.norm": "transformer.ln_f",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.": "attn.attention.",
    "o_proj": "out_proj",
    "mlp.gate_proj": "mlp.c_fc_0",
    "mlp.up_proj": "mlp.c_fc_1",
    "mlp.down_proj": "mlp.c_proj",
}


def named(name: str) -> str:
    for usual, theirs in NAMES.items():
        name = name.replace(usual, theirs)
    return name


def as_llama(config: Config) -> Config:
    return {**config, "num_hidden_layers": config["num_layers"], "rms_norm_eps": config["layer_norm_epsilon"]}


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    return {named(name): shape for name, shape in llama.shapes(as_llama(config)).items()}


def logits(config: Config, w: Mapping[str, Array], tokens: Array) -> Array:
    usual = {name: w[named(name)] for name in llama.shapes(as_llama(config))}
    return llama.logits(as_llama(config), usual, tokens)
