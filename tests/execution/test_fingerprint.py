"""A fingerprint changes with everything that a traced program depends on, and is refused where that is not known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpaged.execution import fingerprint as module
from jaxpaged.execution.buckets import Buckets
from jaxpaged.execution.fingerprint import fingerprint, tracing_environment
from jaxpaged.sampling.variant import Variant

BUCKETS = Buckets.for_limits(64, 16)


def mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]).reshape(1, devices), ("data", "model"))


def struct(dtype: Any = jnp.float32, spec: PartitionSpec | None = None, devices: int = 1) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh(devices), PartitionSpec("data") if spec is None else spec)
    return jax.ShapeDtypeStruct((4, 4), dtype, sharding=sharding)


DIFFERENT = (
    (1, 2),
    (1, True),
    (1, 1.0),
    ("1", 1),
    (None, "None"),
    (("a", "b"), ("ab",)),
    ((1, (2,)), (1, 2)),
    ((1,), [1]),
    ({"a": 1}, {"a": 2}),
    (Variant.GREEDY, Variant.PLAIN),
    (Variant.GREEDY, 0),
    (BUCKETS, replace(BUCKETS, sample_group=8)),
    (jnp.dtype("bfloat16"), jnp.dtype("float16")),
    (struct(), struct(jnp.bfloat16)),
    (struct(), struct(spec=PartitionSpec("model"))),
    (struct(), struct(devices=2)),
    (jax.tree.structure((1, {"a": 2})), jax.tree.structure((1, {"b": 2}))),
)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_fingerprints(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_equal_values_have_one() -> None:
    assert fingerprint(Buckets.for_limits(64, 16), struct()) == fingerprint(BUCKETS, struct())


@dataclass(frozen=True)
class Own:
    size: int


@pytest.mark.parametrize("value", [object(), Own(1), len, {1, 2}, jnp.zeros(2)], ids=lambda value: type(value).__name__)
def test_what_is_not_known_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no fingerprint is known"):
        fingerprint((1, value))


def test_a_setting_of_jax_makes_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = tracing_environment()
    with jax.default_matmul_precision("highest"):
        assert tracing_environment() != usual
    assert tracing_environment() == usual
    monkeypatch.setattr(module, "version", lambda name: "another")
    assert tracing_environment() != usual


def test_every_line_of_the_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("package")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setattr(module, "OWN", (package,))
    (tmp_path / "part").mkdir()
    source = tmp_path / "part" / "code.py"
    seen = set()
    for text in ("x = 1\n", "x = 2\n", "x = 2\n\n"):
        source.write_text(text)
        module._sources.cache_clear()
        seen.add(tracing_environment())
    source.rename(tmp_path / "part" / "other.py")
    module._sources.cache_clear()
    seen.add(tracing_environment())
    monkeypatch.undo()
    module._sources.cache_clear()
    assert len(seen) == 4
