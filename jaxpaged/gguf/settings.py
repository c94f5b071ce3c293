"""config.json and generation_config.json from a GGUF file's metadata."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.registry import find_family
from jaxpaged.gguf.tokenizer import CHAT_TEMPLATE

DTYPES = {"F32": "float32", "F16": "float16"}
QUANTIZED_DTYPE = "bfloat16"
TOKENS = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
ENDS = ("eos", "eot", "eom")
# Files often name one of these only; the others end a turn all the same where the chat template writes them.
TURN_ENDS = frozenset({"<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"})
SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


def model_settings(metadata: Metadata) -> dict[str, Any]:
    """config.json. Raises ConfigError for a model that is not read."""
    family = find_family(metadata)
    ids = {name: metadata.all.get(f"tokenizer.ggml.{token}_token_id") for name, token in TOKENS.items()}
    settings = {
        "architectures": [family.served_as],
        "model_type": family.model_type,
        "dtype": _dtype(metadata),
        **family.settings(metadata),
        **ids,
    }
    return {key: value for key, value in settings.items() if value is not None}


def generation_settings(metadata: Metadata) -> dict[str, Any]:
    """generation_config.json: what ends an answer, and the sampling that the file recommends."""
    named = [metadata.all.get(f"tokenizer.ggml.{name}_token_id") for name in ENDS]
    ends = {end for end in named if isinstance(end, int)} | _turn_ends(metadata)
    sampling = {name: metadata.all.get(f"general.sampling.{key}") for key, name in SAMPLING.items()}
    return {
        "eos_token_id": sorted(ends),
        **{name: value for name, value in sampling.items() if value is not None},
    }


def _turn_ends(metadata: Metadata) -> set[int]:
    template, tokens = metadata.all.get(CHAT_TEMPLATE), metadata.all.get("tokenizer.ggml.tokens")
    if not isinstance(template, str) or not isinstance(tokens, list):
        return set()
    return {id for id, token in enumerate(tokens) if token in TURN_ENDS and token in template}


def _dtype(metadata: Metadata) -> str:
    """What most numbers are stored in; packed ones are served in bfloat16."""
    numbers = Counter[str]()
    for tensor in metadata.model.tensors.values():
        numbers[tensor.kind.name] += math.prod(tensor.shape)
    most = max(numbers, key=numbers.__getitem__, default="F32")
    return DTYPES.get(most, QUANTIZED_DTYPE)
