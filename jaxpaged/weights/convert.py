"""`jaxpaged convert`: a checkpoint prepared once (stacked, fused, quantized, padded), so that it loads faster."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Array

from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.errors import ConfigError
from jaxpaged.gguf.unpack import POINTER
from jaxpaged.hub.repository import SETTINGS_FILES
from jaxpaged.weights.orbax_store import MANIFEST, save_converted

INDEX_SUFFIX = ".index.json"


def new_directory(output: Path) -> None:
    """Make the directory that convert() writes to. Raises ConfigError when it holds something or cannot be made."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists already; name a new directory, or remove it.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output} cannot be made ({error.strerror}); name another directory.") from error


def convert(source: Path, output: Path, decoder: FunctionalDecoder, leaves: Sequence[Array]) -> None:
    """Write leaves loaded from `source` to the new directory `output`, a model directory like any other.

    Raises ConfigError when `output` holds something already or cannot be made.
    """
    new_directory(output)
    for path in settings_files(source):
        shutil.copyfile(path, output / path.name)
    save_converted(output, decoder, leaves)


def settings_files(directory: Path) -> list[Path]:
    """config.json, generation_config.json, the tokenizer's files and the like; no weights, no code."""
    found = {path for pattern in SETTINGS_FILES for path in directory.glob(pattern)}
    skipped = (INDEX_SUFFIX, MANIFEST, POINTER)
    return sorted(path for path in found if path.is_file() and not path.name.endswith(skipped))
