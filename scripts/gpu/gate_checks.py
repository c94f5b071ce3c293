"""What the gate checks: steps, each over its own small pool whose free places are NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpu.sizes import DEFAULT, Sizes
from pallas_kernels.paged_attention.example_batches import Batch
from pallas_kernels.paged_attention.example_specs import BY_NAME, MODEL_SPECS, Spec
from pallas_kernels.paged_attention.example_specs import SPECS as EXAMPLES

# XLA's options. A command buffer is made of five operations or more unless it is told otherwise.
MODES: Mapping[str, Mapping[str, str | int]] = MappingProxyType(
    {
        "off": MappingProxyType({"xla_gpu_enable_command_buffer": ""}),
        "on": MappingProxyType({"xla_gpu_graph_min_graph_size": 1}),
    }
)
NAN = float("nan")
E4M3 = "float8_e4m3fn"


@dataclass(frozen=True, eq=False)
class Check:
    """One step. stored: the pool's dtype; queries and new tokens are bfloat16."""

    name: str
    spec: Spec
    batch: Batch
    stored: str = "bfloat16"
    sizes: Sizes = DEFAULT

    @property
    def decodes_only(self) -> bool:
        return self.batch.decodes == len(self.batch.lengths)


LLAMA = next(spec for spec in MODEL_SPECS if spec.name == "llama8b")
# Decodes at page, tile and split edges one less, met, one more; a prompt, chunks that end inside pages.
EDGES = ((0, 1), (15, 1), (31, 1), (63, 1), (64, 1), (128, 1), (0, 33), (95, 30), (127, 3))
ACROSS_PAGES = ((255, 1), (256, 1), (700, 5), (0, 30))
RUNGS = (
    Check("decode of one tile", LLAMA, Batch(((40, 1),), fill=NAN)),
    Check("decode with splits and merge", LLAMA, Batch(((1500, 1), (700, 1), (511, 1)), fill=NAN)),
    Check("chunk of one tile", LLAMA, Batch(((0, 16),), fill=NAN)),
    Check("chunk after a prefix", LLAMA, Batch(((300, 150),), fill=NAN)),
    Check("mixed step, metadata 256 wide", LLAMA, Batch(EDGES, sequences=256, tokens=80, table_width=24, fill=NAN)),
    Check("decodes, metadata 256 wide", LLAMA, Batch(EDGES[:6], sequences=256, tokens=8, table_width=24, fill=NAN)),
)


def _edges(spec: Spec, stored: str, name: str = "", sizes: Sizes = DEFAULT) -> Check:
    if spec.page_size > 128:
        return Check(spec.name, spec, Batch(ACROSS_PAGES, sequences=5, tokens=40, table_width=4, fill=NAN), stored)
    width = 24 if spec.page_size > 8 else 48
    return Check(
        name or spec.name, spec, Batch(EDGES, sequences=9, tokens=72, table_width=width, fill=NAN), stored, sizes
    )


REGISTERS = Sizes(chunk={"weights_in_registers": True})
SPECS = (
    _edges(LLAMA, "bfloat16", "weights in registers", REGISTERS),
    *(_edges(spec, "bfloat16") for spec in EXAMPLES),
    _edges(LLAMA, E4M3),
    *(_edges(spec, E4M3) for spec in EXAMPLES),
)
_SMALL = BY_NAME["gqa4_page16"]
QUICK_RUNGS = (Check("chunk after a prefix", _SMALL, Batch(((20, 9),), fill=NAN)),)
QUICK_SPECS = (Check(_SMALL.name, _SMALL, Batch(((20, 9),), fill=NAN), E4M3),)
