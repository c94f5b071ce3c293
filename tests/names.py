"""Names for an engine's requests: to an engine they are numbers, a test reads better with words."""

from __future__ import annotations

_NUMBERS: dict[str, int] = {}
_NAMES: dict[int, str] = {}


def number(name: str) -> int:
    """The number of the request that tests call `name`, the same for as long as they run."""
    if name not in _NUMBERS:
        _NUMBERS[name] = len(_NUMBERS) + 1
        _NAMES[_NUMBERS[name]] = name
    return _NUMBERS[name]


def name_of(request_id: int) -> str:
    """Inverse of number()."""
    return _NAMES[request_id]
