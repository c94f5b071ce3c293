"""A GGUF model as a model directory: settings and tokenizer in Hugging Face's files, tensors where they are.

Everything that reads a model directory reads this; it is written once and kept for as long as the file stays the
same. The weights are read from the GGUF files that POINTER names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jaxpaged.errors import ConfigError
from jaxpaged.gguf.files import find_parts, read_model
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.settings import generation_settings, model_settings
from jaxpaged.gguf.tokenizer import read_tokenizer

log = logging.getLogger("jaxpaged")

POINTER = "gguf.json"
MOST_LETTERS = 100  # of the file's name in the directory's
VERSION = 1  # of what is written; a new one makes every directory anew


def unpack(file: Path, cache: Path, *, tokenizer: bool = True) -> Path:
    """The model directory of a GGUF file (or of the first part of one), below `cache`. Raises ConfigError."""
    parts = find_parts(file.absolute())  # not resolved: the hub's cache links to blobs, whose names say nothing
    directory = cache / _directory_name(parts, tokenizer)
    if (directory / POINTER).is_file():
        return directory
    metadata = Metadata(read_model(parts))
    with tempfile.TemporaryDirectory(dir=_writable(cache), prefix="unpacking-") as folder:
        written = Path(folder) / "model"
        written.mkdir()
        _write(written, metadata, parts, tokenizer)
        return _moved(written, directory)


def pointed_files(directory: Path) -> tuple[Path, ...] | None:
    """The GGUF files whose tensors belong to a model directory; None where it has weights of its own."""
    pointer = directory / POINTER
    if not pointer.is_file():
        return None
    return tuple(map(Path, json.loads(pointer.read_text(encoding="utf-8"))["files"]))


def _write(directory: Path, metadata: Metadata, parts: tuple[Path, ...], tokenizer: bool) -> None:
    def write(name: str, content: dict[str, Any]) -> None:
        (directory / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    write("config.json", model_settings(metadata))
    write("generation_config.json", generation_settings(metadata))
    if tokenizer:
        backend, settings = read_tokenizer(metadata)
        backend.save(str(directory / "tokenizer.json"))
        write("tokenizer_config.json", settings)
    write(POINTER, {"files": [str(part) for part in parts]})


def _directory_name(parts: tuple[Path, ...], tokenizer: bool) -> str:
    """Changes with the files, their places and what is written."""
    stats = [(str(part), part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    digest = hashlib.sha256(repr((VERSION, tokenizer, stats)).encode()).hexdigest()
    return f"{parts[0].stem[:MOST_LETTERS]}-{digest[:16]}"


def _writable(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"{cache} cannot be made ({error.strerror}); name another directory by download_dir=."
        ) from error
    return cache


def _moved(written: Path, directory: Path) -> Path:
    try:
        written.rename(directory)
    except OSError:  # another process was faster
        if not (directory / POINTER).is_file():
            shutil.rmtree(directory, ignore_errors=True)
            written.rename(directory)
    return directory
