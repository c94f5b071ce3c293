"""Answers of models that think first: their grammar begins where the thought has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxpaged.params.tags import spelled


@dataclass(frozen=True, slots=True)
class Thought:
    """How a thought begins and ends, in every spelling. `opened`: the prompt has begun it, so it must be ended.

    Otherwise the model may begin one or answer at once.
    """

    begin: tuple[str, ...]
    end: tuple[str, ...]
    opened: bool = False


def thought_rules(thought: Thought, special: Mapping[str, int]) -> list[str]:
    """Rules of a Lark grammar for `thought`, beside TEXT and SPACE. `special`: tokens that are no text."""
    rules, ends = [], []
    for index, end in enumerate(thought.end):
        name = f"thought_{index}"
        lazy = "" if end in special else "[lazy]"
        rules.append(f"{name}{lazy}: TEXT {spelled(end, special)}")
        ends.append(name)
    begun = f"({' | '.join(ends)}) SPACE?"
    if not thought.opened:
        begun = f"(({' | '.join(spelled(begin, special) for begin in thought.begin)}) {begun})?"
    return [*rules, f"thought: {begun}"]
