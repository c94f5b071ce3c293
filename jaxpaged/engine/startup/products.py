"""What multiplies a CPU's weights: oneDNN, with weights laid out once, where it can; else XLA."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from jaxpaged.engine.startup.context import ServedModel
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.errors import ConfigError
from jaxpaged.execution.buckets import ladder
from jaxpaged.execution.memory import weight_bytes
from jaxpaged.quant.onednn.machine import can_try, cpu_description, why_not
from jaxpaged.quant.onednn.matrix import Matrix
from jaxpaged.quant.onednn.schemes import OneDnnLayout, matrix_of
from jaxpaged.quant.onednn.trial import Trial
from jaxpaged.quant.onednn.trial_run import TrialFailed, try_matrices

log = logging.getLogger("jaxpaged")
# Programs that call oneDNN cannot be kept in the compile cache. In this dtype (int8 beside it) what they save is worth
# compiling them at each start; in float32 (README of the room quant) that is for the user to say.
AUTO_DTYPE = "bfloat16"
AUTO_BYTES = 64 << 20  # of weights; smaller models answer before their programs would be compiled


@dataclass(frozen=True, slots=True)
class Products:
    """layout: how oneDNN wants the weights; None: XLA multiplies them as they are. `reason`: for the report."""

    layout: OneDnnLayout | None
    reason: str


def choose_products(setup: Setup, served: ServedModel, cache: Path | None) -> tuple[ServedModel, Products]:
    """The model with its weights in the order that its products want. Raises ConfigError where that is impossible.

    cache: a directory that keeps what was found of this machine.
    """
    asked = setup.config.compile.cpu_matmul
    products = Products(None, "as --cpu-matmul says") if asked == "xla" else _products(setup, served, cache)
    if asked == "onednn" and products.layout is None:
        raise ConfigError(f"cpu_matmul is onednn, which cannot be used: {products.reason}; use auto or xla.")
    if products.layout is None:
        return served, products
    model, decoder = replace(served.model, layout=products.layout), served.decoder.laid_out(products.layout)
    memory = replace(served.memory, weights=weight_bytes(decoder.params, setup.mesh))
    return replace(served, model=model, decoder=decoder, memory=memory), products


def _products(setup: Setup, served: ServedModel, cache: Path | None) -> Products:
    if setup.device.platform != "cpu":
        return Products(None, f"what suits {setup.device.device_kind}")
    if setup.mesh.size > 1:
        return Products(None, "oneDNN's products cannot be divided among devices")
    if setup.settings.layer_loop != "switch":
        return Products(None, f"oneDNN's products need the layer loop switch, not {setup.settings.layer_loop}")
    matrices, cpu = _matrices(served), cpu_description()
    if setup.config.compile.cpu_matmul == "auto" and not _worth_compiling(served):
        return Products(None, "the model starts sooner so; --cpu-matmul onednn computes faster, where it can")
    if reason := why_not(frozenset(matrix.dtype for matrix in matrices), cpu):
        return Products(None, reason)
    tried = tuple(matrix for matrix in matrices if can_try(matrix.dtype, cpu))
    try:
        found = try_matrices(Trial(tried, _rows(setup), jax.local_device_count(backend="cpu")), cpu, cache)
    except TrialFailed as error:
        log.warning("products are left to XLA: %s", error)
        return Products(None, str(error))
    return _judged(found, matrices)


def _worth_compiling(served: ServedModel) -> bool:
    return served.model.dtype.name == AUTO_DTYPE and served.memory.weights >= AUTO_BYTES


def _judged(found: list[Matrix], matrices: tuple[Matrix, ...]) -> Products:
    if not found:
        log.warning("products are left to XLA: oneDNN was tried, but gave other values")
        return Products(None, "the trial of oneDNN gave other values")
    kinds = f"{len(found)} of {len(matrices)} kinds of matrices"
    return Products(OneDnnLayout(frozenset(found)), f"weights laid out once, {kinds}, right in a trial on this machine")


def _matrices(served: ServedModel) -> tuple[Matrix, ...]:
    """The model's, each shape once, in the order of the first block."""
    found = (matrix_of(weight.scheme, weight.parameter) for weight in served.decoder.weights)
    return tuple(dict.fromkeys(matrix for matrix in found if matrix is not None))


def _rows(setup: Setup) -> tuple[int, ...]:
    """The numbers of rows that programs have."""
    limits = setup.settings.limits
    return tuple(sorted({*ladder(limits.max_num_batched_tokens), *ladder(limits.max_num_seqs)}))
