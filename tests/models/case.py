"""A parity case: a tiny config, its weights from a seed, and the recorded reference.

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
    if len(shape) <= 1:
        return np.asarray(1.0 + 0.3 * noise, np.float32)
    scale = 1.0 if any(word in name for word in TABLES) else MATRIX_SCALE
    return (noise * scale * shape[-1] ** -0.5).astype(np.float32)


def write_checkpoint(case: Case, directory: Path) -> Golden:
    """An HF model directory (config.json and model.safetensors, no tokenizer) and its reference."""
    golden = load_golden(case)
    (directory / "config.json").write_text(json.dumps(dict(case.config)))
    save_file(make_weights(case, golden.tensors), directory / "model.safetensors")
    return golden


def llama_like(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
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
