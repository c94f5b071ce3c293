"""A sequence that has forbidden every token ends by itself, with the names of the fields that did."""

from __future__ import annotations

from jaxpaged.engine.engine import Engine
from tests.engine.drive import run
from tests.structured.engines import ask, text_of


def test_what_is_only_known_later_ends_that_sequence_only(engine: Engine) -> None:
    """The grammar wants a "b" after the "a", and only "a" is allowed; a second "b" would make a bad word."""
    asked = [
        ask("g", structured_outputs={"regex": "ab"}, allowed_token_ids=[67], logprobs=0),
        ask("w", allowed_token_ids=[68], _bad_words_token_ids=[[68, 68]], bad_words=["bb"], logprobs=0),
        ask("mate", structured_outputs={"regex": "ab"}),
    ]
    answers = run(engine, asked)
    for name, fields in (("g", "structured_outputs and allowed_token_ids"), ("w", "allowed_token_ids and bad_words")):
        last = answers[name].last
        assert last is not None
        assert (answers[name].reason, len(answers[name].tokens), last.error, last.refused) == ("error", 1, None, None)
        assert last.stop_reason == f"{fields} together leave no token to generate"
    assert (text_of(answers["mate"].tokens), answers["mate"].reason) == ("ab", "stop")
