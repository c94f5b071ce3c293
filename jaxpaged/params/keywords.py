"""An unknown keyword of a constructor is refused with the closest known one."""

from __future__ import annotations

import difflib
import inspect
from functools import wraps
from typing import Any


def suggest_keywords[T](cls: type[T]) -> type[T]:
    """Make an unknown keyword a TypeError that names the closest field."""
    init = cls.__init__
    known = tuple(inspect.signature(init).parameters)[1:]

    @wraps(init)
    def checked(self: T, *args: Any, **keywords: Any) -> None:
        for name in keywords:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"{cls.__name__} has no field {name!r}.{hint}")
        init(self, *args, **keywords)

    cls.__init__ = checked  # type: ignore[method-assign,assignment]
    return cls
