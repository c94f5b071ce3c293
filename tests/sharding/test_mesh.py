"""The mesh has the asked shape or is refused in words."""

import jax
import pytest
from jax.sharding import AxisType, Mesh

from jaxpaged.errors import ConfigError
from jaxpaged.sharding.mesh import check_mesh, make_mesh


@pytest.mark.parametrize(("tensor", "data"), [(1, 1), (8, 1), (4, 2), (2, 4), (1, 8), (2, 1)])
def test_shape_and_devices(tensor: int, data: int) -> None:
    mesh = make_mesh(tensor, data)
    assert dict(mesh.shape) == {"data": data, "model": tensor}
    assert set(mesh.devices.flat) == set(jax.devices()[: tensor * data])


def test_takes_the_devices_it_is_given() -> None:
    chosen = jax.devices()[4:6]
    assert list(make_mesh(2, 1, chosen).devices.flat) == chosen


def test_too_few_devices_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"tensor_parallel_size=4 .* needs 12 devices, but there are 8"):
        make_mesh(4, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        make_mesh(0)


def test_foreign_meshes() -> None:
    own = make_mesh(2, 2)
    assert check_mesh(own) is own
    with pytest.raises(ConfigError, match="axes"):
        check_mesh(jax.make_mesh((2, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2))
    with pytest.raises(ConfigError, match="explicit"):
        check_mesh(Mesh(own.devices, ("data", "model"), axis_types=(AxisType.Explicit,) * 2))
