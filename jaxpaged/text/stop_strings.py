"""Find stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text through until a stop string completes; what may still become one is held back.

    The stop that completes first in the text wins, the earlier one of the list when two end together, so the result
    does not depend on how the text was cut. With `include` the stop stays in the text and nothing is held back.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._reach = max((len(stop) for stop in stops), default=1) - 1
        self._window = ""  # the last characters seen, in which a match may still begin
        self._unsent = 0  # how many of them, at the end, have not been passed on

    def push(self, text: str, *, search: bool = True) -> tuple[str, str | None]:
        """Add `text`; returns what may be shown now and the stop string that `text` completed, if any.

        With `search` False (before min_tokens) a stop that completes inside `text` is let through.
        """
        if not self._stops:
            return text, None
        seen = len(self._window)
        self._window += text
        sent = seen - self._unsent
        match = self._earliest(seen) if search and text else None
        if match is not None:
            stop, end = match
            cut = end if self._include else end - len(stop)
            shown = self._window[sent:cut]
            self._window, self._unsent = "", 0
            return shown, stop
        keep = 0 if self._include else self._reach
        cut = max(sent, len(self._window) - keep)
        shown = self._window[sent:cut]
        self._unsent = len(self._window) - cut
        self._window = self._window[len(self._window) - min(self._reach, len(self._window)) :]
        return shown, None

    def flush(self) -> str:
        """The characters held back, once it is known that no more text comes."""
        held = self._window[len(self._window) - self._unsent :]
        self._window, self._unsent = "", 0
        return held

    def _earliest(self, seen: int) -> tuple[str, int] | None:
        best: tuple[str, int] | None = None
        for stop in self._stops:
            begin = self._window.find(stop, max(0, seen - len(stop) + 1))
            if begin >= 0 and (best is None or begin + len(stop) < best[1]):
                best = (stop, begin + len(stop))
        return best
