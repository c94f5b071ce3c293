"""Whether programs are traced, or come from what an earlier start has traced."""

from __future__ import annotations

import logging
from functools import partial

from jaxpaged.engine.startup.context import ServedModel
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.execution.compiler import Lowering, lower
from jaxpaged.execution.fingerprint import fingerprint, tracing_environment
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.execution.traced_programs import TracedPrograms
from jaxpaged.models.registry import REGISTRY

log = logging.getLogger("jaxpaged")


def lowering_of(traced: TracedPrograms | None, setup: Setup, served: ServedModel, programs: ProgramSet) -> Lowering:
    """From `traced` for one CPU, where tracing is most of a start, and where every part of the programs is own code.

    A layer or a logits processor of the user's may change while its name does not.
    """
    one_cpu = setup.device.platform == "cpu" and setup.mesh.size == 1
    if traced is None or not one_cpu or served.model.registry is not REGISTRY or setup.config.logits_processors:
        return lower
    try:
        origin = fingerprint(tracing_environment(), programs)
    except TypeError as unknown:
        log.debug("every program is traced: %s", unknown)
        return lower
    return partial(traced.lower, origin)
