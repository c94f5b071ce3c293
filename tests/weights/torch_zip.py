"""Files as torch.save writes them, made by hand: the index instruction by instruction, the records by zipfile."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.weights import tiny_llama

KINDS = {
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float64": "Double",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}
START, END = b"\x80\x02", b"."
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str, key: str, count: int) -> bytes:
    return (
        b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    )


def view(of: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    return REBUILD + b"(" + of + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + ORDERED_DICT + b"tR"


def index_of(views: Mapping[str, bytes]) -> bytes:
    return START + ORDERED_DICT + b"(" + b"".join(text(name) + each for name, each in views.items()) + b"u" + END


def write_archive(path: Path, index: bytes, records: Mapping[str, bytes], **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", index)
        archive.writestr("archive/byteorder", members.pop("byteorder", b"little"))
        for key, data in records.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def write_file(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    views, records = {}, {}
    for key, (name, tensor) in enumerate(tensors.items()):
        strides = tuple(stride // tensor.itemsize for stride in tensor.strides)
        views[name] = view(storage(KINDS[tensor.dtype.name], str(key), tensor.size), tensor.shape, strides)
        records[str(key)] = tensor.tobytes("A")
    return write_archive(path, index_of(views), records)


def write(directory: Path, given: Mapping[str, np.ndarray], shards: int = 1) -> Path:
    """A Hugging Face directory with one torch file, or several and an index."""
    tiny_llama.write(directory, {})
    (directory / "model.safetensors").unlink()
    if shards == 1:
        write_file(directory / "pytorch_model.bin", given)
        return directory
    names = [f"pytorch_model-{i + 1:05}-of-{shards:05}.bin" for i in range(shards)]
    weight_map = {tensor: names[i % shards] for i, tensor in enumerate(sorted(given))}
    for name in names:
        write_file(directory / name, {t: given[t] for t in given if weight_map[t] == name})
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory
