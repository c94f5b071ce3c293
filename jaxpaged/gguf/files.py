"""Which files belong to a GGUF model: one, or the parts of a split one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpaged.errors import WeightError
from jaxpaged.gguf.header import Header, StoredTensor, read_header

SUFFIX = ".gguf"
MOST_PARTS = 9999
_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf")


@dataclass(frozen=True, slots=True)
class GgufModel:
    """All files of a model: the metadata of the first one, and the tensors of all by name."""

    files: tuple[Path, ...]
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def find_parts(file: Path) -> tuple[Path, ...]:
    """The files of the model that `file` belongs to, in order. Raises WeightError for a part that is not there."""
    named = _PART.fullmatch(file.name)
    if named is None:
        return (file,)
    stem, place, count = named[1], int(named[2]), int(named[3])
    if not 1 <= place <= count <= MOST_PARTS:
        raise WeightError(
            f"{file} calls itself part {place} of {count} files; keep the names that the files were published under."
        )
    parts = [file.with_name(f"{stem}-{number:05}-of-{count:05}{SUFFIX}") for number in range(1, count + 1)]
    missing = next((part.name for part in parts if not part.is_file()), None)
    if missing is not None:
        raise WeightError(f"{file} is part of {count} files, and {missing} is not beside it; fetch it.")
    return tuple(parts)


def find_in_directory(directory: Path) -> Path | None:
    """The first file of the one GGUF model in a directory; None where there is none. Raises WeightError for several."""
    files = sorted(path for path in directory.glob(f"*{SUFFIX}") if path.is_file() and _is_first(path))
    if len(files) > 1:
        raise WeightError(
            f"{directory} holds {len(files)} GGUF models ({files[0].name}, {files[1].name}, ...); name a file, "
            "or put its quantization after the directory's name, as in models:Q4_K_M."
        )
    return files[0] if files else None


def read_model(files: tuple[Path, ...]) -> GgufModel:
    """The headers of all files, checked against each other. Raises WeightError."""
    headers = [read_header(file) for file in files]
    tensors: dict[str, StoredTensor] = {}
    for number, header in enumerate(headers):
        _check_part(header, number, len(headers))
        for name in tensors.keys() & header.tensors.keys():
            raise WeightError(f"{name} is in both {tensors[name].file} and {header.file}; fetch the files again.")
        tensors |= header.tensors
    return GgufModel(files, headers[0].metadata, tensors)


def _check_part(header: Header, number: int, count: int) -> None:
    claimed = header.metadata.get("split.no", 0), header.metadata.get("split.count", 1) or 1
    if claimed != (number, count):
        raise WeightError(
            f"{header.file} is part {claimed[0]} (from 0) of {claimed[1]} files, but was read as part {number} of "
            f"{count}; keep the names that the files were published under."
        )


def _is_first(path: Path) -> bool:
    named = _PART.fullmatch(path.name)
    return named is None or int(named[2]) == 1
