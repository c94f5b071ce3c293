"""What one child process runs, and with what. Imports no jax: the parent must not touch the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Way:
    """How a child runs a group. label: stands behind its parts' names when it is not the first way that is tried."""

    label: str = ""
    attention: str = "auto"
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


NO_COMMAND_BUFFERS = "--xla_gpu_enable_command_buffer="
PLAIN = Way()
LAUNCHES = Way("no command buffers", environment=MappingProxyType({"XLA_FLAGS": NO_COMMAND_BUFFERS}))
BY_XLA = Way("attention by XLA", attention="xla")


@dataclass(frozen=True)
class Group:
    """Parts that share a process. `tasks`: the name in child.GROUPS of what lists them.

    parts: those of them to run, None: all. share: (i, n), every n-th of them from the i-th. limit: seconds after
    which a part counts as hanging; start: the same until the first part begins. prefix: put in front of the command.
    fallbacks: tried in turn after an abort, a hang or a failure of what the others need; what failed is run again too.
    """

    name: str
    tasks: str
    limit: float
    start: float = 90.0
    parts: tuple[str, ...] | None = None
    share: tuple[int, int] = (0, 1)
    prefix: tuple[str, ...] = ()
    way: Way = PLAIN
    fallbacks: tuple[Way, ...] = ()


@dataclass(frozen=True)
class Section:
    """Groups one after the other, or at the same time (`together`), in `most` seconds; what is left goes to the next.

    needs: "hopper", a program on the path such as "ncu", or nothing.
    """

    name: str
    most: float
    groups: tuple[Group, ...]
    together: bool = False
    needs: str = ""
