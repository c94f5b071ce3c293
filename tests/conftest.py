"""Strict JAX on eight virtual CPU devices; programs are compiled once a run, and costly tests begin first."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

TESTS = Path(__file__).parent
CACHE = "JAX_COMPILATION_CACHE_DIR"
# The dearest first, so that no worker is left with one of them at the end.
COSTLY = ("engine", "kernels", "gpu", "structured", "e2e", "bundled", "sampling", "seams", "demo", "faults", "server")
SHARED = ("engine", "structured", "seams", "bundled")  # the tests of such a folder use the same engines


def pytest_configure(config: pytest.Config) -> None:
    """A compile cache of this run; the variable brings it to the workers and to each process that a test starts."""
    if CACHE not in os.environ:
        directory = tempfile.TemporaryDirectory(prefix="jaxpaged-tests-")
        config.add_cleanup(directory.cleanup)
        os.environ[CACHE] = directory.name
        jax.config.update("jax_compilation_cache_dir", directory.name)
    if config.getoption("jaxtyping_packages"):
        jax.tree_util.register_dataclass = partial(_unchecked, jax.tree_util.register_dataclass)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = os.path.relpath(item.path, TESTS)
        return next((i for i, costly in enumerate(COSTLY) if path.startswith(costly)), len(COSTLY))

    items.sort(key=place)


class BySharedEngine(LoadFileScheduling):
    """Gives the workers file by file; folders in SHARED whole, so that their engines are built by one worker only."""

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.removeprefix(f"{TESTS.name}/").split("/")[0]
        return folder if folder in SHARED else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return BySharedEngine(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _unchecked[C: type](register: Callable[..., C], cls: C, *args: Any, **kwargs: Any) -> C:
    """Registered, and its constructor left out of the checks that --jaxtyping-packages adds: JAX also builds such a
    class of shapes, shardings and placeholders. What functions do with its arrays is checked."""
    cls.__no_type_check__ = True
    return register(cls, *args, **kwargs)
