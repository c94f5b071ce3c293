"""Find a model: the bundled one, a local directory, or a repository of the hub. Nothing in it is executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.gguf_model import as_directory, is_gguf
from jaxpaged.hub.no_model import why_no_model
from jaxpaged.hub.pointers import refuse_pointer

BUNDLED_MODEL = Path(__file__).resolve().parents[1] / "assets" / "demo"
CONFIG = "config.json"
# What modelopt, AutoGPTQ and AutoAWQ write beside config.json.
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
SETTINGS_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHT_FILES = ("*.safetensors", "orbax/**")
TORCH_FILES = ("pytorch_model*.bin",)  # fetched where a repository has no other weights
# Other copies of the same weights, or of parts of the pipeline, in repositories of the hub.
SKIPPED_FILES = ("original/*", "onnx/*", "consolidated*")
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.npz", "*.onnx")


def resolve_model(config: ModelConfig) -> Path:
    """The model's directory, downloaded with a progress bar where it is a hub id. Raises ConfigError.

    HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
    """
    if config.model is None:
        directory = BUNDLED_MODEL
    else:
        patterns = SETTINGS_FILES if config.load_format == "dummy" else SETTINGS_FILES + WEIGHT_FILES
        own_tokenizer = not config.skip_tokenizer_init and config.tokenizer in (None, config.model)
        found = _find(config.model, config, patterns, config.revision)
        directory = as_directory(found, config, tokenizer=own_tokenizer)
    if config.revision is not None and (config.model is None or Path(config.model).expanduser().exists()):
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
    return as_directory(_find(config.tokenizer, config, SETTINGS_FILES, revision), config, tokenizer=True)


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


def _find(model: str, config: ModelConfig, patterns: tuple[str, ...], revision: str | None) -> Path:
    local = Path(model).expanduser()
    if local.is_dir() or is_gguf(local):
        return local
    if local.is_file():
        raise ConfigError(
            f"{model} is a file; name a GGUF file, or the directory that holds it together with its {CONFIG}."
        )
    if local.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or os.sep + os.sep in model:
        raise ConfigError(f"{model} does not exist; name a model directory or a hub id such as Qwen/Qwen3-0.6B.")
    return _download(model, config, patterns, revision)


def _download(model: str, config: ModelConfig, patterns: tuple[str, ...], revision: str | None) -> Path:
    def fetch(allowed: tuple[str, ...]) -> Path:
        found = snapshot_download(
            model,
            revision=revision,
            cache_dir=config.download_dir,
            allow_patterns=list(allowed),
            ignore_patterns=list(SKIPPED_FILES),
        )
        return Path(found)

    try:
        validate_repo_id(model)
        found = fetch(patterns)
        if WEIGHT_FILES[0] in patterns and not any(any(found.glob(pattern)) for pattern in WEIGHT_FILES):
            found = fetch(patterns + TORCH_FILES)
    except HFValidationError as error:
        raise ConfigError(f"{model!r} is neither a directory nor a hub id such as Qwen/Qwen3-0.6B.") from error
    except GatedRepoError as error:
        raise ConfigError(f"{model} is gated: accept its licence on the hub and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{model} has no revision {revision!r} on the hub.") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(f"{model} is no directory here and no (public) model of the hub.") from error
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"{model} is no directory here, not in the download cache, and the hub cannot be reached; "
            "download it where there is a network, or name a local directory."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(f"{model} could not be downloaded: {str(error).strip().partition(chr(10))[0]}") from error
    return found
