"""Programs come from an earlier start's traces on one CPU, where nothing but the own code is in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from jaxpaged.config import EngineConfig
from jaxpaged.engine.startup.lowering import lowering_of
from jaxpaged.engine.startup.setup import set_up
from jaxpaged.execution.compiler import Program, lower
from jaxpaged.execution.traced_programs import TracedPrograms
from jaxpaged.models.registry import REGISTRY
from jaxpaged.sampling.stages import BUILTIN_STAGES
from jaxpaged.sharding.mesh import make_mesh

PROGRAM = Program(("one",), lambda: jax.numpy.ones(3), (), results=0)


def kept(
    directory: Path,
    *,
    devices: int = 1,
    registry: object = REGISTRY,
    stages: tuple[object, ...] = (),
    programs: object = "programs",
) -> bool:
    """Whether a program that is lowered leaves its trace."""
    config = replace(EngineConfig(), logits_processors=stages)
    setup = set_up(config, mesh=make_mesh(devices, 1, jax.devices()[:devices]))
    served = SimpleNamespace(model=SimpleNamespace(registry=registry))
    lowering_of(TracedPrograms(directory), setup, served, programs)(PROGRAM)
    return any(directory.iterdir())


def test_own_programs_for_one_cpu_are_kept(tmp_path: Path) -> None:
    assert kept(tmp_path)


@pytest.mark.parametrize(
    "other",
    [{"devices": 2}, {"registry": replace(REGISTRY)}, {"stages": BUILTIN_STAGES[:1]}, {"programs": object()}],
    ids=["two devices", "layers of the user's", "a logits processor of the user's", "what has no fingerprint"],
)
def test_others_are_not(tmp_path: Path, other: dict[str, object]) -> None:
    assert not kept(tmp_path, **other)


def test_without_a_cache_programs_are_traced() -> None:
    assert lowering_of(None, set_up(EngineConfig()), SimpleNamespace(), "programs") is lower
