"""From a Hugging Face checkpoint to a GGUF file, as llama.cpp's conversion goes; names come from the gguf package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map

Config = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]
# config.json's key -> GGUF's, behind the architecture's name
KEYS = {
    "attention_multiplier": "attention.scale",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "embedding_multiplier": "embedding_scale",
    "final_logit_softcapping": "final_logit_softcapping",
    "head_dim": "attention.key_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "layer_norm_eps": "attention.layer_norm_epsilon",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
    "logits_scaling": "logit_scale",
    "max_position_embeddings": "context_length",
    "n_embd": "embedding_length",
    "n_head": "attention.head_count",
    "n_layer": "block_count",
    "n_positions": "context_length",
    "num_attention_heads": "attention.head_count",
    "num_hidden_layers": "block_count",
    "num_key_value_heads": "attention.head_count_kv",
    "residual_multiplier": "residual_scale",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_local_base_freq": "rope.freq_base_swa",
    "rope_theta": "rope.freq_base",
    "rotary_emb_base": "rope.freq_base",
    "sliding_window": "attention.sliding_window",
    "sliding_window_pattern": "attention.sliding_window_pattern",
    "use_parallel_residual": "use_parallel_residual",
}
ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox"}
AROUND_ONE = {"gemma2", "gemma3"}  # how their norms are stored


def metadata_of(config: Config) -> dict[str, Any]:
    arch = architecture_of(config)
    found = {f"{arch}.{KEYS[key]}": value for key, value in config.items() if key in KEYS}
    heads = config.get("num_attention_heads", config.get("n_head"))
    head_dim = config.get("head_dim", config.get("hidden_size", 0) // heads)
    share = config.get("rotary_pct", config.get("partial_rotary_factor", 1.0))
    found |= _rope(arch, config.get("rope_parameters", config.get("rope_scaling")) or {}, config)
    return {"general.architecture": arch, f"{arch}.rope.dimension_count": int(head_dim * share), **found}


def architecture_of(config: Config) -> str:
    return ARCHITECTURES.get(config["model_type"], config["model_type"])


def tensors_of(config: Config, tensors: Tensors) -> dict[str, np.ndarray]:
    """Under GGUF's names, in GGUF's order of rows."""
    arch = architecture_of(config)
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    names = get_tensor_name_map(next(key for key, name in MODEL_ARCH_NAMES.items() if name == arch), layers)
    found = {}
    for name, tensor in tensors.items():
        spelled = name.removeprefix("transformer.") if arch == "bloom" else name
        renamed = names.get_name(spelled, try_suffixes=(".weight", ".bias"))
        assert renamed is not None, name
        found[renamed] = _converted(config, arch, name, tensor)
    return found


def write(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Any], **options: Any) -> Path:
    """One file, or several with split_max_tensors=. A tensor is an array, or packed bytes with their kind."""
    writer = GGUFWriter(path, metadata.get("general.architecture", "llama"), **options)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, tensor in tensors.items():
        data, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _rope(arch: str, scaling: Config, config: Config) -> dict[str, Any]:
    kind = scaling.get("rope_type", scaling.get("type"))
    found: dict[str, Any] = {}
    if "rope_theta" in scaling:
        found[f"{arch}.rope.freq_base"] = scaling["rope_theta"]
    if kind in ("linear", "yarn"):
        found |= {f"{arch}.rope.scaling.type": kind, f"{arch}.rope.scaling.factor": scaling["factor"]}
    original = scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    if original is not None:
        found[f"{arch}.rope.scaling.original_context_length"] = original
    return found


def _converted(config: Config, arch: str, name: str, tensor: np.ndarray) -> np.ndarray:
    if arch in ("llama", "granite") and (".q_proj." in name or ".k_proj." in name):
        heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
        return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
    if "query_key_value" in name:
        heads = config.get("n_head", config.get("num_attention_heads"))
        split = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
        return np.concatenate([split[:, part].reshape(-1, *tensor.shape[1:]) for part in range(3)])
    if arch == "gpt2" and ".c_" in name:
        return tensor.T
    if arch in AROUND_ONE and name.endswith("norm.weight"):
        return tensor + 1
    return tensor
