"""What a model directory says about generation: the tokens that end it and the sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.hub.model_directory import read_json
from jaxpaged.sampling_params import SamplingParams

NAME = "generation_config.json"
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

    The tokenizer's own end token always counts. Raises ConfigError for a file that cannot be used.
    """
    generation = _read(directory / NAME)
    config = _read(directory / "config.json")
    eos = _token_ids(generation.get("eos_token_id"), NAME) or _config_eos(config)
    if tokenizer_eos is not None:
        eos |= {tokenizer_eos}
    sampling = {
        SAMPLING_KEYS[key]: value for key, value in generation.items() if key in SAMPLING_KEYS and value is not None
    }
    try:
        SamplingParams(**sampling)
    except RequestError as error:
        raise ConfigError(f"{directory / NAME}: {error} Mend it, or use generation_config='vllm'.") from error
    return GenerationConfig(tuple(sorted(eos)), sampling)


def _config_eos(config: Mapping[str, Any]) -> set[int]:
    text_config = config.get("text_config")
    nested = text_config.get("eos_token_id") if isinstance(text_config, dict) else None
    return _token_ids(config.get("eos_token_id"), "config.json") or _token_ids(nested, "config.json")


def _token_ids(value: object, file: str) -> set[int]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(token, int) for token in ids):
        raise ConfigError(f"{file} has eos_token_id={value!r}, which should be token ids; fetch the file again.")
    return set(ids)


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
