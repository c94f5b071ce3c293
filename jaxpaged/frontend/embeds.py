"""Prompt embeddings from bytes that somebody has sent: torch's format, numpy's or safetensors, never a program."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from jaxpaged.errors import RequestError
from jaxpaged.weights.torch_file import OLD_FORMAT
from jaxpaged.weights.torch_pickle import IndexFault
from jaxpaged.weights.torch_tensor import read_torch_tensor

PARAM = "prompt_embeds"
_NPY, _ZIP, _OLD_TORCH = b"\x93NUMPY", b"PK\x03\x04", OLD_FORMAT[:2]
MAX_AXES = 32
_TYPES = ("float16", "bfloat16", "float32", "float64")


def read_embeds(data: bytes) -> np.ndarray:
    """Embeddings float32 [prompt_len, hidden] from the bytes of torch.save, a .npy or a .safetensors file.

    A first axis of length one is left out, as in vLLM. Raises RequestError.
    """
    if data.startswith((_ZIP, _OLD_TORCH)):
        array = _torch(data)
    else:
        array = _npy(data) if data.startswith(_NPY) else _safetensors(data)
    if array.dtype.name not in _TYPES:
        raise RequestError(f"prompt_embeds hold {array.dtype.name[:20]}; send one of {', '.join(_TYPES)}.", PARAM)
    return (array[0] if array.ndim == 3 and len(array) == 1 else array).astype(np.float32)


def _torch(data: bytes) -> np.ndarray:
    try:
        return read_torch_tensor(data)
    except IndexFault as fault:
        why = f"prompt_embeds cannot be read: {fault}; send what torch.save(tensor) writes."
        raise RequestError(why, PARAM) from fault


def _npy(data: bytes) -> np.ndarray:
    """What a header claims is believed only when the bytes are there."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, kind = read(file)
    except (ValueError, OSError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise RequestError("prompt_embeds are no whole .npy file; send what numpy.save() writes.", PARAM) from error
    rest = data[file.tell() :]
    few = len(shape) <= MAX_AXES and all(0 <= size <= len(data) for size in shape)
    if kind.hasobject or not kind.itemsize or not few or math.prod(shape) * kind.itemsize != len(rest):
        raise RequestError("prompt_embeds are no whole .npy file of numbers; send what numpy.save() writes.", PARAM)
    return np.frombuffer(rest, kind).reshape(shape, order="F" if by_columns else "C")


def _safetensors(data: bytes) -> np.ndarray:
    try:
        tensors: dict[str, Any] = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RequestError(
            "prompt_embeds are neither of torch.save nor a .npy or .safetensors file of float16, float32 or float64.",
            PARAM,
        ) from error
    if len(tensors) != 1:
        raise RequestError(f"prompt_embeds hold {len(tensors)} tensors; send one.", PARAM)
    (array,) = tensors.values()
    return np.asarray(array)
