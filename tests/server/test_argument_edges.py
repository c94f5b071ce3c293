"""Arguments that models cut short or close badly: what is told apart by what comes after it."""

from __future__ import annotations

import json

import pytest

from tests.server.test_marks_in_arguments import parsed

LISTS = "<start_function_call>call:write{path:[<escape>a<escape>,<escape>b<escape>],content:{x:[<escape>c<escape>]}}"


def test_a_text_may_be_the_last_of_a_list() -> None:
    ((name, arguments),) = parsed("functiongemma", [LISTS + "<end_function_call>"])
    assert (name, json.loads(arguments)) == ("write", {"path": ["a", "b"], "content": {"x": ["c"]}})


@pytest.mark.parametrize(
    "example", ["<function=now>", "<function=now><parameter=path>1", "<function=now></function><function=now>"]
)
def test_an_example_of_a_call_that_is_never_closed_ends_with_the_call_around_it(example: str) -> None:
    text = f"<tool_call>\n<function=write>\n<parameter=path>\nsee {example}</function>\n</tool_call>"
    for pieces in ([text], list(text)):
        ((name, arguments),) = parsed("qwen3_coder", pieces)
        assert (name, json.loads(arguments)["path"][:5]) == ("write", "see <")
