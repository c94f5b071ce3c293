"""What a model directory says about generation: the tokens that end it and the sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxpaged.weights.hub import read_json

# generation_config.json's key -> SamplingParams' field
SAMPLING_KEYS = {
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "max_new_tokens": "max_tokens",
}


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Ids that end a generation (ascending) and the sampling fields that differ from SamplingParams' defaults."""

    eos_token_ids: tuple[int, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)


def load_generation_config(directory: Path, *, tokenizer_eos: int | None = None) -> GenerationConfig:
    """Read generation_config.json; config.json stands in for its eos_token_id where it says nothing.

    The tokenizer's own end token always counts. Raises ConfigError for a file that is not a JSON object.
    """
    generation = _read(directory / "generation_config.json")
    config = _read(directory / "config.json")
    eos = _token_ids(generation.get("eos_token_id")) or _config_eos(config)
    if tokenizer_eos is not None:
        eos |= {tokenizer_eos}
    sampling = {
        SAMPLING_KEYS[key]: value for key, value in generation.items() if key in SAMPLING_KEYS and value is not None
    }
    return GenerationConfig(tuple(sorted(eos)), sampling)


def _config_eos(config: Mapping[str, Any]) -> set[int]:
    text_config = config.get("text_config")
    nested = text_config.get("eos_token_id") if isinstance(text_config, dict) else None
    return _token_ids(config.get("eos_token_id")) or _token_ids(nested)


def _token_ids(value: int | list[int] | None) -> set[int]:
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {value}


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
