"""Text that arrives in pieces, for grammars to read: they `yield from` its methods, which yield when text runs out."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from functools import lru_cache

type Steps[Result] = Generator[None, None, Result]

_SPACES = re.compile(r"\s+")


class Markers:
    """Spellings to look for, however many. None of them may begin another one."""

    __slots__ = ("_longest", "_prefixes", "first", "pattern", "spellings")

    def __init__(self, *spellings: str) -> None:
        self.spellings = spellings
        self.pattern = re.compile(_alternatives(spellings))
        self.first = frozenset(spelling[0] for spelling in spellings)
        self._prefixes = frozenset(spelling[:end] for spelling in spellings for end in range(1, len(spelling)))
        self._longest = max(map(len, spellings))

    def partial(self, text: str, at: int) -> int:
        """Where the beginning of a spelling starts at the end of `text[at:]`; len(text) where none does."""
        for position in range(max(at, len(text) - self._longest + 1), len(text)):
            if text[position] in self.first and text[position:] in self._prefixes:
                return position
        return len(text)


@lru_cache(maxsize=256)
def markers(*spellings: str) -> Markers:
    """The Markers of these spellings, made once."""
    return Markers(*spellings)


def _alternatives(spellings: Iterable[str]) -> str:
    """A pattern that tells the spellings apart character by character, so their number does not count."""
    branches: dict[str, list[str]] = {}
    for spelling in spellings:
        branches.setdefault(spelling[:1], []).append(spelling[1:])
    ends = branches.pop("", None) is not None
    parts = [re.escape(char) + _alternatives(rests) for char, rests in branches.items()]
    joined = parts[0] if len(parts) == 1 and not ends else f"(?:{'|'.join(parts)})" if parts else ""
    return f"{joined}?" if ends and parts else joined


class Source:
    """`text[at:]` is what has arrived and is not read yet; it stays short, as grammars read what they can.

    `barren` and `closes` are positions that looking ahead has found, so that nothing is looked through twice: up to the
    first no value closes, and at the second one does.
    """

    __slots__ = ("_fed", "at", "barren", "closes", "ended", "held", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.held: list[str] | None = None  # what was read since hold(), while it may yet have to be given back
        self.barren: float = 0
        self.closes = 0
        self._fed = 0

    @property
    def position(self) -> int:
        """How many characters of the answer have been read."""
        return self._fed - (len(self.text) - self.at)

    def feed(self, text: str) -> None:
        self.text = self.text[self.at :] + text
        self.at = 0
        self._fed += len(text)

    def hold(self, text: str = "") -> None:
        """Remember what is read from now on, after `text`."""
        self.held = [text]

    def release(self) -> str:
        """What was read since hold(); nothing is remembered any more."""
        held, self.held = self.held, None
        return "".join(held or ())

    def take(self, count: int) -> str:
        """Read `count` characters that are there."""
        text = self.text[self.at : self.at + count]
        self.at += count
        if self.held is not None:
            self.held.append(text)
        return text

    def put_back(self, text: str) -> None:
        """Unread `text`, which was read last and in one go."""
        self.at -= len(text)
        if self.held is not None:
            self.held.pop()

    def look_ahead(self) -> list[str] | None:
        """What is read from now on is only looked at, until rewind(), which needs the result."""
        outer, self.held = self.held, []
        return outer

    def rewind(self, outer: list[str] | None) -> None:
        """Unread what was read since look_ahead()."""
        seen, self.held = "".join(self.held or ()), outer
        if self.at >= len(seen):
            self.at -= len(seen)
        else:
            self.text, self.at = seen + self.text[self.at :], 0

    def peek(self, count: int = 1) -> Steps[str]:
        """The next `count` characters; fewer at the end."""
        while len(self.text) - self.at < count and not self.ended:
            yield
        return self.text[self.at : self.at + count]

    def run(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Read as long as `pattern`, which is one or more of a class of characters, matches."""
        parts = []
        while True:
            found = pattern.match(self.text, self.at)
            if found:
                parts.append(self.take(found.end() - self.at))
            if self.at < len(self.text) or self.ended:
                return "".join(parts)
            yield

    def spaces(self) -> Steps[str]:
        """Read white space."""
        return (yield from self.run(_SPACES))

    def ahead(self, markers: Markers) -> Steps[str]:
        """The marker that comes next, unread; "" if none does."""
        while True:
            found = markers.pattern.match(self.text, self.at)
            if found:
                return found[0]
            begins = self.at == len(self.text) or markers.partial(self.text, self.at) == self.at
            if self.ended or not begins:
                return ""
            yield

    def follows(self, markers: Markers) -> Steps[str]:
        """Read the marker that comes next; "" if none does."""
        found = yield from self.ahead(markers)
        return self.take(len(found))

    def until(self, markers: Markers, emit: Callable[[str], None]) -> Steps[str]:
        """Read up to and with the next marker, which is returned; `emit` gets the text before it. "" at the end."""
        while True:
            found = markers.pattern.search(self.text, self.at)
            stop = found.start() if found else len(self.text) if self.ended else markers.partial(self.text, self.at)
            if stop > self.at:
                emit(self.take(stop - self.at))
            if found:
                return self.take(len(found[0]))
            if self.ended:
                return ""
            yield
