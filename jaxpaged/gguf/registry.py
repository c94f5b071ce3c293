"""The architectures that are read from GGUF, by the name that files give."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.gguf.architectures.bloom import BLOOM
from jaxpaged.gguf.architectures.gemma import GEMMA2, GEMMA3
from jaxpaged.gguf.architectures.gpt2 import GPT2
from jaxpaged.gguf.architectures.gpt_neox import GPT_NEOX
from jaxpaged.gguf.architectures.llama import GRANITE, LLAMA
from jaxpaged.gguf.architectures.phi3 import PHI3
from jaxpaged.gguf.architectures.qwen import QWEN2, QWEN3
from jaxpaged.gguf.family import GgufFamily
from jaxpaged.gguf.metadata import Metadata

FAMILIES: Mapping[str, GgufFamily] = MappingProxyType(
    {
        "bloom": BLOOM,
        "gemma2": GEMMA2,
        "gemma3": GEMMA3,
        "gpt2": GPT2,
        "gptneox": GPT_NEOX,
        "granite": GRANITE,
        "llama": LLAMA,
        "phi3": PHI3,
        "qwen2": QWEN2,
        "qwen3": QWEN3,
    }
)


def find_family(metadata: Metadata) -> GgufFamily:
    """The family of a file. Raises UnsupportedModelError for an architecture, or a variant of it, that is not read."""
    name = metadata.architecture
    if name not in FAMILIES:
        raise UnsupportedModelError(
            f"{metadata.file} holds a model of the GGUF architecture {name!r}; read are {', '.join(sorted(FAMILIES))}."
        )
    for key in FAMILIES[name].refused:
        if metadata.get(key):
            raise UnsupportedModelError(
                f"{metadata.file} sets {name}.{key}={metadata.get(key)!r}, which is not implemented for {name}."
            )
    if metadata.need("block_count") > len(metadata.model.tensors):
        raise UnsupportedModelError(
            f"{metadata.file} claims {metadata.need('block_count')} layers, but holds {len(metadata.model.tensors)} "
            "tensors; fetch the file again."
        )
    return FAMILIES[name]
