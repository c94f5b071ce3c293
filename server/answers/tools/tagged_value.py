"""The text of an argument between tags. It may hold every tag itself: which of them ends it is told by what follows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from server.answers.tools.sink import WORD
from server.answers.tools.source import Markers, Source, Steps

_BESIDE_NAME = re.compile(r"[\s\"'>]+")


@dataclass(frozen=True)
class ValueTags:
    """`end` closes a value, `more` begins the next argument, `close` ends the call.

    `opening`, a name and one of `heads` begin another call. `implied` is a mark of the next argument that ends a value
    which was not closed.
    """

    end: str
    more: str
    close: str
    opening: str
    heads: Markers
    implied: str | None = None

    @cached_property
    def stops(self) -> Markers:
        return Markers(self.end, self.close, self.opening, *([self.implied] if self.implied else ()))

    @cached_property
    def later(self) -> Markers:
        """What tells whether the value goes on after a mark that may end it."""
        return Markers(self.end, self.opening)


def copy_tagged(source: Source, emit: Callable[[str], None], tags: ValueTags) -> Steps[str]:
    """Copy a value up to the mark that ends it, which stays unread; "" where the answer is cut off within it.

    A mark that may end the call does so if no `end` comes after it, before another call: then it stood in the value.
    So does one within an example of a call, which the value may hold.
    """
    depth = 0  # calls in the value that have begun
    while found := (yield from source.until(tags.stops, emit)):
        source.put_back(found)
        outer = source.look_ahead()
        source.take(len(found))
        ends = found != tags.opening and (yield from _ends(source, tags, found, depth))
        if found == tags.opening:
            depth += yield from _is_call(source, tags)
        source.rewind(outer)
        if ends:
            return found
        depth = max(depth - (found == tags.close), 0)
        emit(source.take(len(found)))
    return ""


def _ends(source: Source, tags: ValueTags, found: str, depth: int) -> Steps[bool]:
    """Whether `found`, which was read last, ends the value."""
    position = source.position
    if found == tags.implied:
        return depth == 0
    if found == tags.end:
        yield from source.spaces()
        if not (yield from source.peek()):
            return True
        following = yield from source.follows(Markers(tags.more, tags.close))
        if following != tags.close:
            return following == tags.more and depth == 0
    if position < source.closes:
        return False
    if position >= source.barren:
        yield from _look_for_end(source, tags)
    if position < source.closes:
        return False
    return depth == 0 or source.barren == math.inf


def _look_for_end(source: Source, tags: ValueTags) -> Steps[None]:
    """Note where the next `end` is, or that there is none before another call or the end of the answer."""
    while found := (yield from source.until(tags.later, _drop)):
        at = source.position
        if found == tags.end:
            source.closes = at
            return
        if (yield from _is_call(source, tags)):
            source.barren = at
            return
    source.barren = math.inf


def _is_call(source: Source, tags: ValueTags) -> Steps[bool]:
    """Whether a call goes on after its opening."""
    yield from source.run(_BESIDE_NAME)
    name = yield from source.run(WORD)
    yield from source.run(_BESIDE_NAME)
    return bool(name) and bool((yield from source.ahead(tags.heads)))


def _drop(text: str) -> None:
    pass
