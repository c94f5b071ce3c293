"""Other ways to compile the decoding step, put in place of the engine's own: layer loops and command buffers."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from jaxpaged import LLM
from jaxpaged.decoder.decoder import LayerLoop
from jaxpaged.decoder.functional import build_decoder
from jaxpaged.execution.compiler import Program, lower
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.execution.step import StepFunctions
from jaxpaged.models.spec import DecoderSpec

THUNK = re.compile(r"^(?P<indent> *)\d+: (?P<kind>k\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Variant:
    """How the layers are run, and XLA's options beside the defaults (a GPU's only)."""

    layer_loop: LayerLoop
    options: Mapping[str, str | bool] = field(default_factory=dict)


NO_COMMAND_BUFFERS = "static slices, no command buffers"
GPU_VARIANTS: Mapping[str, Variant] = {
    "static slices": Variant("unroll"),
    NO_COMMAND_BUFFERS: Variant("unroll", {"xla_gpu_enable_command_buffer": ""}),
    "scan": Variant("scan"),
    "scan, no Triton products": Variant("scan", {"xla_gpu_enable_triton_gemm": False}),
    "static slices, no Triton products": Variant("unroll", {"xla_gpu_enable_triton_gemm": False}),
    "scan, loop in a command buffer": Variant(
        "scan",
        {
            "xla_gpu_enable_triton_gemm": False,
            "xla_gpu_enable_command_buffer": (
                "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,WHILE"
            ),
        },
    ),
}
OTHER_VARIANTS: Mapping[str, Variant] = {"scan": Variant("scan")}


@dataclass(frozen=True)
class Compiled:
    """A compiled step, what it took, and XLA's list of its thunks (empty where XLA writes none)."""

    executable: Any
    seconds: float
    thunks: str

    def figures(self) -> dict[str, Any]:
        memory = self.executable.memory_analysis()
        return {
            "compile_s": self.seconds,
            "temporaries_mib": memory.temp_size_in_bytes / 2**20,
            **thunk_counts(self.thunks),
        }


def compile_variant(llm: LLM, spec: DecoderSpec, variant: Variant, tokens: int) -> Compiled:
    """The backbone for `tokens` tokens with the engine's own arrays as arguments.

    The persistent cache must be off: of a program that is found there XLA writes nothing.
    """
    program = _program(llm, spec, variant.layer_loop, tokens)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as dump:
        executable = lower(program).compile(compiler_options={**variant.options, "xla_dump_to": dump})
        seconds = time.perf_counter() - began
        thunks = _dumped(dump, "thunk_sequence_after_thunk_passes.txt") or _dumped(dump, "thunk_sequence.txt")
    return Compiled(executable, seconds, thunks)


@contextmanager
def in_place(llm: LLM, executables: Mapping[int, Any]) -> Iterator[None]:
    """The engine runs these backbones, by their tokens, instead of its own."""
    table = llm.engine.runner.programs.compiled
    own = {("backbone", tokens): table["backbone", tokens] for tokens in executables}
    table.update({("backbone", tokens): executable for tokens, executable in executables.items()})
    try:
        yield
    finally:
        table.update(own)


def thunk_counts(text: str) -> dict[str, Any]:
    """Of XLA's list of thunks: how many of each kind, how many custom calls (our kernels) a command buffer holds."""
    kinds: Counter[str] = Counter()
    captured, inside = 0, False
    for found in THUNK.finditer(text):
        if not found["indent"]:
            inside = found["kind"] == "kCommandBuffer"
        kinds[found["kind"]] += 1
        captured += inside and found["kind"] == "kCustomCall"
    return {"thunks": dict(kinds), "custom_calls_in_command_buffers": captured} if kinds else {}


def _program(llm: LLM, spec: DecoderSpec, layer_loop: LayerLoop, tokens: int) -> Program:
    runner = llm.engine.runner
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), (runner.leaves, runner.pool.arrays)
    )
    dtype = runner.pool.arrays[0].dtype
    decoder = build_decoder(spec, dtype=dtype, tensor_parallel=1, layer_loop=layer_loop)
    functions = StepFunctions(decoder, runner.sampler, runner.mesh, runner.pool.geometry)
    return ProgramSet(functions, runner.buckets, runner.limits, *abstract).backbone(tokens)


def _dumped(directory: str, ending: str) -> str:
    return "".join(path.read_text() for path in sorted(Path(directory).glob(f"*backbone*{ending}")))
