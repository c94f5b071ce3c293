"""Choose an implementation of an op while JAX traces it.

An implementation says what it cannot do by raising NotImplementedError: the next one is tried. A ValueError means that
the caller's input is wrong: it passes through at once. When none can, all reasons are raised together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache

log = logging.getLogger("pallas_kernels")


def dispatch[Result](
    op: str,
    implementations: Mapping[str, Callable[..., Result]],
    order: Sequence[str],
    *args: object,
    **kwargs: object,
) -> Result:
    """Call the first of implementations[order[0]], implementations[order[1]], ... that can serve these arguments.

    Raises ValueError for an unknown name, ExceptionGroup of every NotImplementedError when no implementation can.
    """
    unknown = [name for name in order if name not in implementations]
    if unknown:
        raise ValueError(f"implementation: {op} has no {unknown[0]!r}; choose from {sorted(implementations)}.")
    refusals: list[Exception] = []
    for name in order:
        try:
            result = implementations[name](*args, **kwargs)
            for refused in refusals:
                _warn_once(f"{op} runs as {name}: {refused}")
            return result
        except NotImplementedError as refusal:
            refusal.add_note(f"implementation {name!r} of {op}")
            refusals.append(refusal)
    raise ExceptionGroup(f"no implementation of {op} among {list(order)} can serve this call", refusals)


@cache
def _warn_once(message: str) -> None:
    """A model's layers and programs would say the same again and again."""
    log.warning(message)
