"""Answers of models that think first: their grammar begins where the thought has ended."""

from __future__ import annotations

import json
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


def after_thought(grammar: str, thought: Thought, special: Mapping[str, int]) -> str:
    """A grammar of llguidance, in Lark or as JSON, with a thought before it. `special`: tokens that are no text."""
    rules, ends = [], []
    for index, end in enumerate(thought.end):
        name = f"thought_{index}"
        lazy = "" if end in special else "[lazy]"
        rules.append(f"{name}{lazy}: TEXT {spelled(end, special)}")
        ends.append(name)
    begun = f"({' | '.join(ends)}) SPACE?"
    if not thought.opened:
        begun = f"(({' | '.join(spelled(begin, special) for begin in thought.begin)}) {begun})?"
    head = [f"start: {begun} @answer", *rules, r"TEXT: /(.|\n)*/", r"SPACE: /[ \n\r\t]+/"]
    return json.dumps({"grammars": [{"lark_grammar": "\n".join(head) + "\n"}, {**_answer(grammar), "name": "answer"}]})


def _answer(grammar: str) -> dict[str, object]:
    if not grammar.lstrip().startswith("{"):
        return {"lark_grammar": grammar}
    (answer,) = json.loads(grammar)["grammars"]
    return dict(answer)
