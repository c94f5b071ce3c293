"""The parity cases: a tiny config per feature of a family, its weights from a seed, and the recorded reference.

Imports numpy and safetensors only, so that scripts/make_goldens.py shares it under any Python >= 3.10.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
NEW_TOKENS = 32
PROMPT_LEN = 40  # beyond WINDOW and ORIGINAL
WINDOW, ORIGINAL, LONGEST = 16, 32, 128
VOCAB = 131  # odd, so that the stored vocabulary has padding


@dataclass(frozen=True)
class Case:
    """One checkpoint: config.json, and weights that are a function of `name` alone."""

    name: str
    config: Mapping[str, Any]

    def digest(self) -> str:
        """Changes with the config and with the way weights are made."""
        described = json.dumps([self.name, self.config, WEIGHTS_VERSION], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()


@dataclass(frozen=True)
class Golden:
    """The reference: `tokens` is the prompt and then the greedy continuation, `logits[j]` belongs to `positions[j]`."""

    tensors: Mapping[str, tuple[int, ...]]
    tokens: np.ndarray
    positions: np.ndarray
    logits: np.ndarray
    digest: str

    @property
    def prompt(self) -> list[int]:
        return self.tokens[:PROMPT_LEN].tolist()

    @property
    def continuation(self) -> list[int]:
        return self.tokens[PROMPT_LEN:].tolist()


def load_golden(case: Case) -> Golden:
    with np.load(GOLDENS / f"{case.name}.npz") as file:
        tensors = {name: tuple(shape) for name, shape in json.loads(str(file["tensors"])).items()}
        golden = Golden(tensors, file["tokens"], file["positions"], file["logits"], str(file["digest"]))
    assert golden.digest == case.digest(), f"{case.name} has changed: run scripts/make_goldens.py again"
    return golden


WEIGHTS_VERSION = 2
MATRIX_SCALE = 2.5
TABLES = ("emb", "wte", "wpe", "lm_head")


def make_weights(case: Case, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Float32 tensors, each from a generator of its own, so that order and company do not matter.

    Matrices are many times larger than at a usual initialisation, norms and biases random: nothing is close to neutral.
    """
    return {name: _tensor(f"{case.name} {name}", name, shape) for name, shape in shapes.items()}


def _tensor(seed: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(seed.encode()))).standard_normal(shape)
    if name.endswith("bias"):
        return (0.3 * noise).astype(np.float32)
    if len(shape) == 1:
        return (1.0 + 0.3 * noise).astype(np.float32)
    scale = 1.0 if any(word in name for word in TABLES) else MATRIX_SCALE
    return (noise * scale * shape[-1] ** -0.5).astype(np.float32)


def write_checkpoint(case: Case, directory: Path) -> Golden:
    """An HF model directory (config.json and model.safetensors, no tokenizer) and its reference."""
    golden = load_golden(case)
    (directory / "config.json").write_text(json.dumps(dict(case.config)))
    save_file(make_weights(case, golden.tensors), directory / "model.safetensors")
    return golden


def _llama_like(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    base = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": LONGEST,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {**base, **changes}


def _llama(**changes: Any) -> dict[str, Any]:
    return _llama_like("LlamaForCausalLM", "llama", head_dim=16, **changes)


def _scaled(**scaling: Any) -> dict[str, Any]:
    """Llama with rope scaling, spelled as transformers 5 does."""
    config = _llama(num_hidden_layers=2, rope_parameters={"rope_theta": 10000.0, **scaling})
    return {key: value for key, value in config.items() if key != "rope_theta"}


def _gemma(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    gemma = {
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "num_hidden_layers": 4,
        "query_pre_attn_scalar": 20,
        "sliding_window": WINDOW,
        "tie_word_embeddings": True,
    }
    return _llama_like(architecture, model_type, **{**gemma, **changes})


def _neox(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": LONGEST,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _opt(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "ffn_dim": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "max_position_embeddings": LONGEST,
        "word_embed_proj_dim": 48,
        "dropout": 0.0,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _gpt(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    base = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": VOCAB,
        "n_embd": 48,
        "n_head": 4,
        "n_layer": 2,
        "n_positions": LONGEST,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": ORIGINAL}
_LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 1.5, 2.5, 4.0],
}

CASES = (
    Case("llama", _llama()),
    Case("llama_mqa_bias", _llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    Case("llama_linear", _scaled(rope_type="linear", factor=4.0)),
    # Served at 4 * ORIGINAL tokens, whose frequencies all requests share.
    Case("llama_dynamic", {**_scaled(rope_type="dynamic", factor=4.0), "max_position_embeddings": ORIGINAL}),
    Case("llama_yarn", _scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=ORIGINAL)),
    Case("llama_llama3", _scaled(rope_type="llama3", **_LLAMA3)),
    Case("mistral", _llama_like("MistralForCausalLM", "mistral", head_dim=20, sliding_window=WINDOW)),
    Case(
        "qwen2",
        _llama_like(
            "Qwen2ForCausalLM",
            "qwen2",
            sliding_window=WINDOW,
            use_sliding_window=True,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
    ),
    Case(
        "qwen3", _llama_like("Qwen3ForCausalLM", "qwen3", head_dim=16, attention_bias=False, tie_word_embeddings=True)
    ),
    Case(
        "granite",
        _llama_like(
            "GraniteForCausalLM",
            "granite",
            attention_multiplier=0.4,
            embedding_multiplier=6.0,
            logits_scaling=3.0,
            residual_multiplier=0.3,
        ),
    ),
    Case("gemma2", _gemma("Gemma2ForCausalLM", "gemma2", attn_logit_softcapping=4.0, final_logit_softcapping=3.0)),
    Case(
        "gemma3",
        _gemma(
            "Gemma3ForCausalLM",
            "gemma3_text",
            sliding_window_pattern=3,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
    ),
    Case("phi3", _llama_like("Phi3ForCausalLM", "phi3", sliding_window=WINDOW, pad_token_id=0)),
    Case(
        "phi3_longrope",
        _llama_like(
            "Phi3ForCausalLM",
            "phi3",
            num_attention_heads=3,
            num_key_value_heads=1,
            original_max_position_embeddings=ORIGINAL,
            partial_rotary_factor=0.5,
            rope_scaling=_LONGROPE,
            pad_token_id=0,
        ),
    ),
    Case("gpt2", _gpt("GPT2LMHeadModel", "gpt2")),
    Case("gptj", _gpt("GPTJForCausalLM", "gptj", rotary_dim=8, tie_word_embeddings=False)),
    Case("neox_parallel", _neox()),
    Case("neox_serial", _neox(use_parallel_residual=False)),
    Case("opt", _opt()),
    Case("opt_post_norm", _opt(do_layer_norm_before=False, word_embed_proj_dim=32)),
    Case("opt_no_bias", _opt(enable_bias=False)),
    # Six heads: no power of two.
    Case(
        "bloom",
        {
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "vocab_size": VOCAB,
            "hidden_size": 48,
            "n_head": 6,
            "n_layer": 2,
            "layer_norm_epsilon": 1e-5,
            "torch_dtype": "float32",
        },
    ),
)
CASE = {case.name: case for case in CASES}
# The architectures whose reference is transformers.
COMPARED = frozenset(name for case in CASES for name in case.config["architectures"])
