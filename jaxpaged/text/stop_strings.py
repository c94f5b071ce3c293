"""Find stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text through until a stop string completes; a tail that may still become one is held back.

    The stop that completes first in the text wins, the earlier one of the list when two end together, so the result
    does not depend on how the text was cut. With `include` the stop stays in the text and nothing is held back.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._firsts = frozenset(stop[0] for stop in stops)
        self._tail = ""  # the longest end of the text so far with which a stop string begins

    def push(self, text: str, *, search: bool = True) -> tuple[str, str | None]:
        """Add `text`; returns what may be shown now and the stop string that `text` completed, if any.

        With `search` False (before min_tokens) a stop that completes inside `text` is let through.
        """
        if not self._tail and self._firsts.isdisjoint(text):
            return text, None
        seen = len(self._tail)
        window = self._tail + text
        sent = seen if self._include else 0
        match = self._earliest(window, seen) if search and text else None
        if match is not None:
            stop, end = match
            self._tail = ""
            return window[sent : end if self._include else end - len(stop)], stop
        cut = self._tail_of(window)
        self._tail = window[cut:]
        return window[sent : None if self._include else cut], None

    def flush(self) -> str:
        """The characters held back, once it is known that no more text comes."""
        held, self._tail = self._tail, ""
        return "" if self._include else held

    def _earliest(self, window: str, seen: int) -> tuple[str, int] | None:
        best: tuple[str, int] | None = None
        for stop in self._stops:
            begin = window.find(stop, max(0, seen - len(stop) + 1))
            if begin >= 0 and (best is None or begin + len(stop) < best[1]):
                best = (stop, begin + len(stop))
        return best

    def _tail_of(self, window: str) -> int:
        """Where the first end of the window begins with which a stop string begins; its length where none does."""
        for begin, first in enumerate(window):
            if first in self._firsts:
                end = window[begin:]
                if any(len(end) < len(stop) and stop.startswith(end) for stop in self._stops):
                    return begin
        return len(window)
