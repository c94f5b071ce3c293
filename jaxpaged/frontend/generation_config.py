"""What a model directory says about generation: the tokens that end it and the sampling defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxpaged.errors import ConfigError, RequestError
from jaxpaged.hub.model_directory import read_json
from jaxpaged.sampling_params import SamplingParams

log = logging.getLogger("jaxpaged")

NAME = "generation_config.json"
EOS = "eos_token_id"
AUTO, NO_DEFAULTS = "auto", "vllm"  # settings that are no directory
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


def load_generation_config(
    directory: Path, *, tokenizer_eos: int | None = None, source: str = AUTO, override: Mapping[str, Any] | None = None
) -> GenerationConfig:
    """Read generation_config.json; config.json stands in for its eos_token_id where it says nothing.

    `source` is auto (the file of `directory`), vllm (no sampling defaults) or another directory with such a file;
    `override` is put over what it says. The tokenizer's own end token always counts. Raises ConfigError for a file or
    an override that cannot be used.
    """
    own = directory if source in (AUTO, NO_DEFAULTS) else Path(source).expanduser()
    if own != directory and not (own / NAME).is_file():
        raise ConfigError(f"generation_config is {source!r}; give auto, vllm or a directory that holds {NAME}.")
    generation = {**_read(own / NAME), **{key: value for key, value in (override or {}).items() if key == EOS}}
    eos = _token_ids(generation.get(EOS), NAME) or _config_eos(_read(directory / "config.json"))
    if tokenizer_eos is not None:
        eos |= {tokenizer_eos}
    sampling = {} if source == NO_DEFAULTS else _sampling(generation, f"{own / NAME}:", "use generation_config='vllm'")
    sampling |= _overriding(override or {})
    return GenerationConfig(tuple(sorted(eos)), sampling)


def _overriding(override: Mapping[str, Any]) -> dict[str, Any]:
    ignored = sorted(override.keys() - {*SAMPLING_KEYS, EOS})
    if ignored:
        log.warning("override_generation_config: %s changes nothing here", ", ".join(ignored))
    return _sampling(override, "override_generation_config:", "leave it out")


def _sampling(generation: Mapping[str, Any], where: str, otherwise: str) -> dict[str, Any]:
    sampling = {
        SAMPLING_KEYS[key]: value for key, value in generation.items() if key in SAMPLING_KEYS and value is not None
    }
    try:
        SamplingParams(**sampling)
    except RequestError as error:
        raise ConfigError(f"{where} {error} Mend it, or {otherwise}.") from error
    return sampling


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
