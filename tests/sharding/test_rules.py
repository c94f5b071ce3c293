"""One table decides the placement; what it does not know, or what collides, is an error."""

import pytest
from jax.sharding import PartitionSpec

from jaxpaged.errors import ConfigError
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.sharding.rules import RULES, check_divides, replicated, sharding_of, spec_of


def test_specs() -> None:
    assert spec_of(("layer", "kv_head", None, "head_dim", "embed")) == PartitionSpec(None, "model")
    assert spec_of(("layer", "page", "kv", "kv_head", "slot", "head_dim")) == PartitionSpec(None, "data", None, "model")
    assert spec_of(("vocab", "embed")) == PartitionSpec("model")
    assert spec_of(()) == PartitionSpec()


def test_collisions_and_unknown_names_raise() -> None:
    with pytest.raises(ValueError, match="same mesh axis"):
        spec_of(("kv_head", "ffn"))
    with pytest.raises(ValueError, match="not in the sharding table"):
        spec_of(("kv_heads",))


def test_the_table_is_frozen() -> None:
    with pytest.raises(TypeError):
        RULES["embed"] = "model"  # type: ignore[index]


def test_shardings_are_interned() -> None:
    mesh = make_mesh(4, 2)
    assert sharding_of(mesh, ("vocab", "embed")) is sharding_of(mesh, ("vocab", "embed"))
    assert replicated(mesh).is_fully_replicated


def test_unequal_parts_are_refused_by_name() -> None:
    mesh = make_mesh(4, 2)
    check_divides(mesh, "head", (12, 3), ("vocab", "embed"))
    with pytest.raises(ConfigError, match=r"ffn\.up: its ffn axis of 10 .* 4 equal parts; use a tensor_parallel_size"):
        check_divides(mesh, "ffn.up", (10, 3), ("ffn", "embed"))
