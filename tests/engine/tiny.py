"""Tiny Llama checkpoints, and engines that serve them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from jaxpaged.config import (
    CacheConfig,
    CompileConfig,
    EngineConfig,
    ModelConfig,
    ParallelConfig,
    SamplerVariant,
    SchedulerConfig,
)
from jaxpaged.engine.engine import Engine
from jaxpaged.models.registry import REGISTRY, Registry
from jaxpaged.sampling.variant import Variant

GREEDY = (Variant.GREEDY,)
VOCAB = 131
CONTEXT = 192
LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
MODEL_FIELDS = (
    "dtype",
    "load_format",
    "max_model_len",
    "seed",
    "quantization",
    "max_logprobs",
    "logprobs_mode",
    "enable_prompt_embeds",
)
CACHE_FIELDS = ("block_size", "num_gpu_blocks_override", "enable_prefix_caching", "kv_cache_memory_bytes")
SCHEDULER_FIELDS = ("max_num_seqs", "max_num_batched_tokens", "policy", "plans_in_flight", "max_queued_requests")
COMPILE_FIELDS = ("persistent_cache", "cache_dir", "layer_loop", "variants", "guard", "cpu_matmul")
PARALLEL_FIELDS = ("tensor_parallel_size", "data_parallel_size", "enable_expert_parallel")

Tensors = dict[str, np.ndarray]


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a Llama checkpoint."""
    hidden, ffn, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    layer = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for i in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Float32, large enough that tokens differ from step to step and no two logits tie."""
    rng = np.random.default_rng(seed)
    return {name: _tensor(rng, shape) for name, shape in shapes.items()}


def _tensor(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.standard_normal(shape)
    made = 1 + 0.1 * noise if len(shape) == 1 else 2.5 * noise * shape[-1] ** -0.5
    return made.astype(np.float32)


def write(directory: Path, config: Mapping[str, Any], tensors: Tensors) -> Path:
    """A Hugging Face model directory without a tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(dict(config)))
    save_file(tensors, directory / "model.safetensors")
    return directory


def write_llama(directory: Path, seed: int = 0, **changes: Any) -> Path:
    config = {**LLAMA, **changes}
    return write(directory, config, random_tensors(llama_shapes(config), seed))


def engine_config(directory: Path, *, logits_processors: Sequence[Any] = (), **options: Any) -> EngineConfig:
    """An EngineConfig from flat options; small where nothing is said."""
    small = {
        "dtype": "float32",
        "block_size": 16,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 32,
        "num_gpu_blocks_override": 128,
        "enable_prefix_caching": True,
        "guard": "refuse",
    }
    options = {"persistent_cache": False, **small, **options}

    def part(make: Any, fields: Sequence[str], **more: Any) -> Any:
        return make(**{name: options.pop(name) for name in fields if name in options}, **more)

    config = EngineConfig(
        part(ModelConfig, MODEL_FIELDS, model=str(directory), skip_tokenizer_init=True),
        part(CacheConfig, CACHE_FIELDS),
        part(SchedulerConfig, SCHEDULER_FIELDS),
        part(ParallelConfig, PARALLEL_FIELDS),
        part(CompileConfig, COMPILE_FIELDS),
        tuple(logits_processors),
    )
    assert not options, f"unknown options {sorted(options)}"
    return config


def build(
    directory: Path,
    variants: Sequence[Variant] = tuple(Variant),
    *,
    mesh: jax.sharding.Mesh | None = None,
    devices: Sequence[jax.Device] | None = None,
    registry: Registry = REGISTRY,
    **options: Any,
) -> Engine:
    """An engine that is ready for requests of these sampler variants: the whole sampler costs seconds to compile."""
    config = engine_config(directory, variants=names(variants), **options)
    return Engine.build(config, mesh=mesh, devices=devices, registry=registry, progress=False)


def names(variants: Sequence[Variant]) -> tuple[SamplerVariant, ...]:
    """As CompileConfig has them."""
    return tuple(variant.name.lower() for variant in variants)  # type: ignore[misc]
