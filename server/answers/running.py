"""Answers on their way, found again by what their clients call them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from weakref import WeakKeyDictionary

from server.answers.answer import Answer


class RunningAnswers:
    """Owner of the names of answers, which are forgotten with them.

    An answer is called by its id, by the X-Request-Id of its request, or by both as vLLM makes an id of it
    (`chatcmpl-<X-Request-Id>`); one prompt of several by that and its number (`cmpl-...-0`).
    """

    def __init__(self) -> None:
        self._given: WeakKeyDictionary[Answer, str] = WeakKeyDictionary()

    def note(self, answer: Answer, given: str) -> None:
        """An answer begins; `given` is the X-Request-Id."""
        self._given[answer] = given

    def requests(self, names: Iterable[str]) -> list[str]:
        """The ids that the engine's front end knows the requests of these answers by; unknown names are left out."""
        known: dict[str, set[str]] = {}
        for answer, given in self._given.items():
            for name in _names(answer, given):
                ids = [prepared.request_id for prepared in answer.batch]
                known.setdefault(name, set()).update(ids)
                for index, request_id in enumerate(ids):
                    known.setdefault(f"{name}-{index}", set()).add(request_id)
        return sorted(set().union(*(known.get(name, ()) for name in names)))


def _names(answer: Answer, given: str) -> Iterator[str]:
    yield answer.id
    if given:
        yield given
        kind, dash, _ = answer.id.partition("-")
        if dash:
            yield f"{kind}-{given}"
