"""Git LFS pointers: what a clone holds in a large file's place until it is fetched."""

from __future__ import annotations

from pathlib import Path

from jaxpaged.errors import WeightError

MAGIC = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: Path) -> None:
    """Raise WeightError where a file is a pointer. A file that cannot be read is left to whoever reads it."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError:
        return
    if start == MAGIC:
        raise WeightError(
            f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in {path.parent}, or download the "
            "model with `hf download`."
        )
