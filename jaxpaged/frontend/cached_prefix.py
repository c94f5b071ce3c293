"""The handle on a prefix that LLM.cache_prefix() keeps in the KV pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """`num_tokens` tokens of a prompt whose keys and values stay until release(), or the end of a `with` block."""

    name: str
    num_tokens: int
    _release: Callable[[str], None] = field(repr=False)

    def release(self) -> None:
        """Let the pages go; they are evicted when others need them. More than once does nothing."""
        self._release(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
