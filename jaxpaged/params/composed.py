"""The grammar of an answer with what may come before it, or instead of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from jaxpaged.params.calls import Calls, call_rules
from jaxpaged.params.thought import Thought, thought_rules

# white space between the parts of an answer, bounded: a small model would fill its answer with it
_TERMINALS = (r"TEXT: /(.|\n)*/", r"SPACE: /[ \n\r\t]{1,4}/")


def composed(grammar: str, thought: Thought | None, calls: Calls | None, special: Mapping[str, int]) -> str:
    """A grammar of llguidance, in Lark or as JSON, with a thought before it, or calls in its place.

    `special`: tokens that are no text.
    """
    rules = [*_TERMINALS]
    body = "@answer"
    if calls is not None:
        rules += call_rules(calls, special)
        body = "(@answer | calls)"
    if thought is not None:
        rules += thought_rules(thought, special)
        body = f"thought {body}"
    lark = "\n".join([f"start: {body}", *rules]) + "\n"
    return json.dumps({"grammars": [{"lark_grammar": lark}, {**_answer(grammar), "name": "answer"}]})


def _answer(grammar: str) -> dict[str, object]:
    if not grammar.lstrip().startswith("{"):
        return {"lark_grammar": grammar}
    (answer,) = json.loads(grammar)["grammars"]
    return dict(answer)
