"""Traces of what host and devices do, by jax.profiler, for TensorBoard or Perfetto."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxpaged.errors import RequestError


@dataclass(slots=True)
class Profiler:
    """At most one trace at a time; JAX knows no more in a process."""

    _directory: str | None = None

    def start(self, directory: str | None = None) -> str:
        """Begin a trace; returns its directory, a new one that only this user can read where none is given.

        Raises RequestError.
        """
        if self._directory is not None:
            raise RequestError("a profile is being taken already; call stop_profile() first.")
        directory = directory or tempfile.mkdtemp(prefix="jaxpaged-profile-")
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(directory)
        except (OSError, RuntimeError) as error:
            raise RequestError(f"no profile can be taken in {directory}: {error}.") from error
        self._directory = directory
        return directory

    def stop(self) -> str:
        """End the trace and write it; returns its directory. Raises RequestError."""
        if self._directory is None:
            raise RequestError("no profile is being taken; call start_profile() first.")
        directory, self._directory = self._directory, None
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            raise RequestError(f"the profile could not be written to {directory}: {error}.") from error
        return directory
