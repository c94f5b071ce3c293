"""Traced programs kept between starts, so that the next one need not trace.

What is kept is a program before it is compiled (StableHLO, by jax.export). Compiling, and JAX's own cache of what is
compiled, follow in every start, so the name of an entry covers what tracing depends on, and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
from jax import export

from jaxpaged.execution.compiler import Program
from jaxpaged.execution.fingerprint import fingerprint

log = logging.getLogger("jaxpaged")
CHECKSUM_BYTES = 32
# Whether a call of a library means the same in another version does not matter: versions are in the name.
CHECKS = (export.DisabledSafetyCheck.custom_call("ALL"),)


@dataclass(frozen=True, slots=True)
class _Traced:
    """A program from leaves to leaves; `results` is what it returns, with numbers in the place of its leaves."""

    program: export.Exported
    results: Any

    @classmethod
    def trace(cls, program: Program) -> _Traced:
        made = export.export(jax.jit(program.function), disabled_checks=CHECKS)(*program.arguments)
        inputs, outputs = tuple(range(len(made.in_avals))), tuple(range(len(made.out_avals)))
        flat = replace(
            made,
            in_tree=jax.tree.structure((inputs, {})),
            out_tree=jax.tree.structure(outputs),
            _get_vjp=None,  # cannot be pickled
        )
        return cls(flat, jax.tree.unflatten(made.out_tree, outputs))

    @classmethod
    def from_bytes(cls, content: bytes) -> _Traced:
        values, results = pickle.loads(content)
        return cls(export.Exported(**values), results)

    def to_bytes(self) -> bytes:
        values = {field.name: getattr(self.program, field.name) for field in fields(self.program)}
        return pickle.dumps((values, self.results))

    def lower(self, program: Program) -> Any:
        """As compiler.lower() does it."""
        structure = jax.tree.structure(self.results)

        def call(*arguments: Any) -> Any:
            return jax.tree.unflatten(structure, self.program.call(*jax.tree.leaves(arguments)))

        call.__name__ = str(program.key[0])
        return jax.jit(call, donate_argnums=program.donate).lower(*program.arguments)


@dataclass(slots=True)
class TracedPrograms:
    """A directory of traced programs, which need not be there yet."""

    directory: Path
    has_warned: bool = False

    def lower(self, origin: str, program: Program) -> Any:
        """As compiler.lower() does it, from what an earlier start has traced where there is such.

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
