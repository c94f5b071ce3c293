"""Find a model: the bundled one, a local directory, or a repository of the hub. Nothing in it is executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.gguf_choice import gguf_in, split_tag
from jaxpaged.hub.gguf_model import as_directory, is_gguf
from jaxpaged.hub.no_model import why_no_model
from jaxpaged.hub.pointers import refuse_pointer
from jaxpaged.hub.repository import Repository, without_address

BUNDLED_MODEL = Path(__file__).resolve().parents[1] / "assets" / "demo"
CONFIG = "config.json"
# What modelopt, AutoGPTQ and AutoAWQ write beside config.json.
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.npz", "*.onnx")


def resolve_model(config: ModelConfig) -> Path:
    """The model's directory, downloaded with a progress bar where it is a hub id. Raises ConfigError."""
    if config.model is None:
        directory = BUNDLED_MODEL
    else:
        own_tokenizer = not config.skip_tokenizer_init and config.tokenizer in (None, config.model)
        found = _find(config.model, config, config.revision, weights=config.load_format != "dummy")
        directory = as_directory(found, config, tokenizer=own_tokenizer)
    if config.revision is not None and (config.model is None or _is_local(config.model)):
        raise ConfigError(
            f"revision is {config.revision!r}, but {directory} is no repository of the hub; leave it out."
        )
    read_config(directory)
    return directory


def resolve_tokenizer(config: ModelConfig) -> Path | None:
    """The directory of `tokenizer` where it is another one than the model's, else None. Raises ConfigError."""
    if config.tokenizer is None:
        return None
    revision = config.revision if config.tokenizer == config.model else None
    return as_directory(_find(config.tokenizer, config, revision, weights=False), config, tokenizer=True)


def read_config(directory: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """config.json of a model directory, with `overrides` put over it at the top level. Raises ConfigError."""
    path = directory / CONFIG
    if not path.is_file():
        raise ConfigError(f"{directory} is not a model directory: {why_no_model(directory)}")
    return {**_quantization_beside(directory), **read_json(path), **(overrides or {})}


def _quantization_beside(directory: Path) -> dict[str, Any]:
    """What quantizers write into a file of their own, under the key that config.json has for it."""
    path = next((directory / name for name in QUANTIZATION_FILES if (directory / name).is_file()), None)
    return {} if path is None else {"quantization_config": read_json(path)}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ConfigError naming the file."""
    refuse_pointer(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({error}); fetch the file again.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a JSON {type(content).__name__}, not an object; fetch the file again.")
    return content


def _find(model: str, config: ModelConfig, revision: str | None, *, weights: bool) -> Path:
    """A directory or a GGUF file. weights: whether those of a repository are wanted."""
    local = Path(model).expanduser()
    if local.is_dir() or is_gguf(local):
        return local
    if local.is_file():
        raise ConfigError(
            f"{model} is a file; name a GGUF file, or the directory that holds it together with its {CONFIG}."
        )
    place, tag = split_tag(model)
    if tag is not None and Path(place).expanduser().is_dir():
        return gguf_in(Path(place).expanduser(), tag)
    name = without_address(place)
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or os.sep + os.sep in name:
        raise ConfigError(f"{model} does not exist; name a model directory or a hub id such as Qwen/Qwen3-0.6B.")
    repository = Repository(name, revision, config.download_dir)
    if tag is not None:
        return repository.gguf(tag)
    return repository.model() if weights else repository.settings()


def _is_local(model: str) -> bool:
    return any(Path(name).expanduser().exists() for name in (model, split_tag(model)[0]))
