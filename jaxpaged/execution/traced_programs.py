"""Traced programs kept between starts, so that the next one need not trace.

What is kept is a program before it is compiled (StableHLO, by jax.export). Compiling, and JAX's own cache of what is
compiled, follow in every start, so the name of an entry covers what tracing depends on, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from jaxpaged.execution.compiler import Program
from jaxpaged.execution.fingerprint import fingerprint

log = logging.getLogger("jaxpaged")
CHECKSUM_BYTES = 32
# Whether a call of a library means the same in another version does not matter: versions are in the name.
CHECKS = (export.DisabledSafetyCheck.custom_call("ALL"),)


@dataclass(frozen=True, slots=True)
class _Traced:
    """`module`: StableHLO, from the arguments whose indices are in `kept` to arrays of `outputs`, shapes and dtypes."""

    module: bytes
    kept: tuple[int, ...]
    outputs: tuple[tuple[tuple[int, ...], str], ...]

    @classmethod
    def trace(cls, program: Program) -> _Traced:
        made = export.export(jax.jit(program.function), disabled_checks=CHECKS)(*program.arguments)
        returned: Any = made.out_tree
        if returned != jax.tree.structure(program.results):
            raise ValueError(f"program {program.name} returns {returned}, which is not like its `results`")
        outputs = tuple((tuple(array.shape), array.dtype.name) for array in made.out_avals)
        return cls(made.mlir_module_serialized, tuple(made.module_kept_var_idx), outputs)

    @classmethod
    def from_bytes(cls, content: bytes) -> _Traced:
        header, module = content.split(b"\n", 1)
        kept, outputs = json.loads(header)
        return cls(module, tuple(kept), tuple((tuple(shape), dtype) for shape, dtype in outputs))

    def to_bytes(self) -> bytes:
        return json.dumps([self.kept, self.outputs]).encode() + b"\n" + self.module

    def lower(self, program: Program) -> Any:
        """As compiler.lower() does it."""
        structure, traced = jax.tree.structure(program.results), self._exported(program)

        def call(*arguments: Any) -> Any:
            return jax.tree.unflatten(structure, traced.call(*jax.tree.leaves(arguments)))

        call.__name__ = str(program.key[0])
        return jax.jit(call, donate_argnums=program.donate).lower(*program.arguments)

    def _exported(self, program: Program) -> export.Exported:
        """What jax.export made, over leaves. Its own format needs one more library, and a class for each argument;
        all but the module is the same for a program of nothing that takes and returns the same arrays."""

        def nothing(*_: Any) -> tuple[jax.Array, ...]:
            return tuple(jnp.zeros(shape, dtype) for shape, dtype in self.outputs)

        like = export.export(jax.jit(nothing, keep_unused=True))(*jax.tree.leaves(program.arguments))
        return replace(like, mlir_module_serialized=self.module, module_kept_var_idx=self.kept)


@dataclass(slots=True)
class TracedPrograms:
    """A directory of traced programs, which need not be there yet."""

    directory: Path
    has_warned: bool = False

    def lower(self, origin: str, program: Program) -> Any:
        """As compiler.lower() does it, from what an earlier start has traced where there is such. Needs its `results`.

        origin: a fingerprint of all that its function and its arguments come from.
        """
        name = fingerprint(origin, program.key, program.donate)
        path = self.directory / f"{program.name.replace(' ', '-')}-{name}.traced"
        if (traced := self._read(path)) is None:
            traced = _Traced.trace(program)
            self._write(path, traced)
        return traced.lower(program)

    def _read(self, path: Path) -> _Traced | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot be read ({error.strerror})")
            return None
        checksum, content = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            self._warn("holds damaged entries, which are made anew")
            return None
        return _Traced.from_bytes(content)

    def _write(self, path: Path, traced: _Traced) -> None:
        """Whole or not at all: another engine may read it meanwhile."""
        content = traced.to_bytes()
        try:
            self.directory.mkdir(exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".part", delete=False) as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(file.name, path)
        except OSError as error:
            self._warn(f"cannot be written ({error.strerror})")

    def _warn(self, what: str) -> None:
        if not self.has_warned:
            log.warning("the cache of traced programs %s %s; this start is slower", self.directory, what)
            self.has_warned = True
