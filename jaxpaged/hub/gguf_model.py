"""A GGUF file, or a directory that holds one model in GGUF and no other weights, as a model directory."""

from __future__ import annotations

from pathlib import Path

from jaxpaged.config import ModelConfig
from jaxpaged.gguf.files import SUFFIX, find_in_directory
from jaxpaged.gguf.unpack import unpack
from jaxpaged.hub.pointers import refuse_pointer

CACHE = Path(".cache") / "jaxpaged" / "gguf"  # below the user's home
OWN_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "jaxpaged.json")


def is_gguf(path: Path) -> bool:
    """Whether it is a file that is called so."""
    return path.suffix == SUFFIX and path.is_file()


def as_directory(path: Path, config: ModelConfig, *, tokenizer: bool) -> Path:
    """`path` itself where it has no GGUF to read. tokenizer: whether the file's own is wanted. Raises ConfigError."""
    file = path if is_gguf(path) else _held(path)
    if file is None:
        return path
    refuse_pointer(file)
    cache = Path(config.download_dir).expanduser() if config.download_dir else Path.home() / CACHE
    return unpack(file, cache, tokenizer=tokenizer)


def _held(directory: Path) -> Path | None:
    has_weights = any(next(directory.glob(pattern), None) for pattern in OWN_WEIGHTS)
    return None if has_weights else find_in_directory(directory)
