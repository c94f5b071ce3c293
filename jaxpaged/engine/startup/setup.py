"""What is known before a model is read: the devices, and the sizes that suit them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxpaged.config import CompileConfig, EngineConfig
from jaxpaged.execution.compiler import enable_persistent_cache
from jaxpaged.execution.device_defaults import DeviceSettings, device_defaults, settings_on
from jaxpaged.sharding.mesh import check_mesh, make_mesh

log = logging.getLogger("jaxpaged")
COMPILE_CACHE = "~/.cache/jaxpaged/xla"


@dataclass(frozen=True, slots=True)
class Setup:
    """The user's configuration, the mesh it runs on, and the sizes that follow from both."""

    config: EngineConfig
    mesh: Mesh
    settings: DeviceSettings

    @property
    def device(self) -> jax.Device:
        """One of the mesh; all are alike."""
        return self.mesh.devices.flat[0]


def set_up(config: EngineConfig, devices: Sequence[jax.Device] | None = None, mesh: Mesh | None = None) -> Setup:
    """Check the configuration and find the devices: a mesh that is given, or made of `devices`. Raises ConfigError."""
    config.validate()
    mesh = _mesh(config, devices, mesh)
    device = mesh.devices.flat[0]
    return Setup(config, mesh, settings_on(config, device_defaults(device.platform, device.device_kind)))


def _mesh(config: EngineConfig, devices: Sequence[jax.Device] | None, mesh: Mesh | None) -> Mesh:
    if mesh is not None:
        return check_mesh(mesh)
    parallel = config.parallel
    return make_mesh(parallel.tensor_parallel_size, parallel.data_parallel_size, devices)


def use_compile_cache(config: CompileConfig) -> Path | None:
    """Keep compiled programs between starts, where that is wanted and possible; the directory that keeps them."""
    directory = cache_directory(config) if config.persistent_cache else None
    if directory:
        enable_persistent_cache(directory)
    return directory


def cache_directory(config: CompileConfig) -> Path | None:
    """Where compiled programs are kept, private to the user; None, with a warning, where nothing can be written."""
    directory = Path(config.cache_dir or COMPILE_CACHE).expanduser()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        log.warning("the compile cache %s cannot be used (%s); starts will be slower", directory, error.strerror)
        return None
    return directory
