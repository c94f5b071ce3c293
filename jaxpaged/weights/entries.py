"""Which tensors a directory's checkpoint holds: safetensors files, or torch's where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpaged.errors import WeightError
from jaxpaged.hub.model_directory import OTHER_WEIGHTS, read_json
from jaxpaged.weights.headers import TensorEntry, read_header
from jaxpaged.weights.torch_file import read_torch_entries


@dataclass(frozen=True, slots=True)
class Layout:
    """How a format names its files. `skipped`: beginnings of names of other things than the model's weights."""

    index: str
    single: str
    pattern: str
    read: Callable[[Path], dict[str, TensorEntry]]
    skipped: tuple[str, ...] = ()

    def files(self, directory: Path) -> list[Path]:
        """Those of a directory without an index."""
        if (directory / self.single).is_file():
            return [directory / self.single]
        return [path for path in sorted(directory.glob(self.pattern)) if not path.name.startswith(self.skipped)]

    @property
    def suffix(self) -> str:
        return self.pattern.rpartition("*")[2]


SAFETENSORS = Layout(
    "model.safetensors.index.json", "model.safetensors", "*.safetensors", read_header, ("consolidated", "adapter_")
)
TORCH = Layout("pytorch_model.bin.index.json", "pytorch_model.bin", "pytorch_model*.bin", read_torch_entries)


def read_entries(directory: Path) -> dict[str, TensorEntry]:
    """Every tensor of a Hugging Face directory, by name. Raises WeightError naming the file and the tensor."""
    for layout in (SAFETENSORS, TORCH):
        if (directory / layout.index).is_file():
            return _indexed(directory, layout)
        if files := layout.files(directory):
            return _merge({path: layout.read(path) for path in files})
    raise WeightError(f"{directory} holds no *.safetensors file{_what_else(directory)}.")


def _indexed(directory: Path, layout: Layout) -> dict[str, TensorEntry]:
    index = directory / layout.index
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightError(f"{index} has no weight_map; fetch the file again.")
    for tensor, name in weight_map.items():
        _check_shard_name(index, layout, tensor, name)
    entries = _merge({directory / name: layout.read(directory / name) for name in sorted(set(weight_map.values()))})
    _check_against_index(index, weight_map, entries)
    return entries


def _what_else(directory: Path) -> str:
    """The rest of a sentence about a directory without weights that can be read."""
    if any(directory.glob("consolidated*")):
        return ", only weights in the form of the model's maker (consolidated*); take the model's model*.safetensors"
    if any(directory.glob("adapter_model.*")):
        return ", only the weights of an adapter (adapter_model.*); merge it into its base model and serve the result"
    for pattern in OTHER_WEIGHTS:
        for path in sorted(directory.glob(pattern)):
            return f"; {path.name} is of a kind that is not read, convert it to safetensors"
    return "; download the model's weights into it"


def _check_shard_name(index: Path, layout: Layout, tensor: str, name: Any) -> None:
    if not isinstance(name, str) or name != Path(name).name or not name.endswith(layout.suffix):
        raise WeightError(
            f"{index} puts {tensor} into {name!r}, which is no *{layout.suffix} file name; fetch it again."
        )
    if not (index.parent / name).is_file():
        raise WeightError(f"{index.parent / name} is missing, but {index.name} puts {tensor} into it; fetch it again.")


def _check_against_index(index: Path, weight_map: Mapping[str, str], entries: Mapping[str, TensorEntry]) -> None:
    for tensor in sorted(weight_map.keys() ^ entries.keys()):
        where = "listed in it but in no shard" if tensor in weight_map else f"in {entries[tensor].file.name} only"
        raise WeightError(f"{index} and its shards disagree: {tensor} is {where}; fetch the checkpoint again.")
    for tensor, name in weight_map.items():
        if entries[tensor].file.name != name:
            raise WeightError(f"{index} puts {tensor} into {name}, but it is in {entries[tensor].file.name}.")


def _merge(files: Mapping[Path, Mapping[str, TensorEntry]]) -> dict[str, TensorEntry]:
    merged: dict[str, TensorEntry] = {}
    for path, entries in files.items():
        for tensor in sorted(entries.keys() & merged.keys()):
            raise WeightError(f"{tensor} is in both {merged[tensor].file} and {path}; remove one of the files.")
        merged.update(entries)
    return merged
