"""Every format of structural tags lets through what it describes."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.errors import RequestError
from tests.structured.grammars import accepts, compiled
from tests.text.samples import END

ONE = {"type": "json_schema", "json_schema": {"const": 1}}
TEXT = {"type": "any_text"}
YES = {"type": "const_string", "value": "yes"}
TAG = {"type": "tag", "begin": "<f>", "content": ONE, "end": "</f>"}
OTHER = {"type": "tag", "begin": "<g>", "content": TEXT, "end": ["</g>", "\n"]}
CALLS = {"type": "triggered_tags", "triggers": ["<f"], "tags": [TAG]}


def form(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (YES, ["yes"], ["no", "yes!"]),
        (ONE, ["1"], ["2", ""]),
        (form("json_schema", json_schema=True), ["[2]", '"a"'], ["["]),
        (form("regex", pattern="[a-c]+/\\d"), ["ab/1"], ["ab", "ab/٣"]),
        (TEXT, ["", "anything\n<f>"], []),
        (form("any_text", excludes=["bad", "(x"]), ["good (", "ba d"], ["a bad one", "(x"]),
        (TAG, ["<f>1</f>"], ["<f>2</f>", "<f>1", "<f>1</f>1"]),
        (OTHER, ["<g>a < b</g>", "<g>a\n", "<g></g>"], ["<g>a", "<g>a</g>b"]),
        (form("sequence", elements=[YES, TAG, OTHER]), ["yes<f>1</f><g>x\n"], ["yes", "<f>1</f>", "yes<f>1</f>"]),
        (form("sequence", elements=[OTHER, CALLS]), ["<g>x</g>", "<g>x</g>so<f>1</f> "], ["so", "<g>x</g><f>2</f>"]),
        (form("sequence", elements=[TEXT, YES]), ["yes", "so: yes"], ["", "no", "yes sir", "yes yes"]),
        (form("sequence", elements=[TEXT, YES, TAG]), ["a\nyes<f>1</f>"], ["a<f>1</f>", "ayes<f>2</f>", "ayes"]),
        (form("sequence", elements=[YES, TEXT, TAG, TEXT]), ["yes a<f>1</f>b", "yes<f>1</f>"], ["yes", "yes<f>2</f>"]),
        (
            form("sequence", elements=[form("any_text", excludes=["<"]), OTHER, CALLS]),
            ["a<g>b</g>c<f>1</f>", "<g>\n"],
            ["a < b<g>c</g>", "a"],
        ),
        (form("sequence", elements=[CALLS, YES]), ["yes", "a<f>1</f>b yes"], ["a<f>1</f>b", "<f>2</f>yes"]),
        (form("sequence", elements=[form("or", elements=[TEXT, ONE]), YES]), ["yes", "1yes", "a yes"], ["1"]),
        (
            form("sequence", elements=[{**CALLS, "at_least_one": True, "stop_after_first": True}, ONE]),
            ["<f>1</f>1"],
            ["1", "<f>1</f>", "a<f>1</f>1"],
        ),
        (
            form("tag", begin="<t>", content=form("tag", begin="<u>", content=TEXT), end="</t>"),
            ["<t><u>a</t>"],
            ["<t>a</t>", "<t><u>a"],
        ),
        (form("or", elements=[YES, TAG]), ["yes", "<f>1</f>"], ["yes<f>1</f>", ""]),
        (form("optional", content=YES), ["", "yes"], ["yesyes"]),
        (form("star", content=YES), ["", "yesyes"], ["yesno"]),
        (form("plus", content=YES), ["yes", "yesyesyes"], [""]),
        (form("repeat", content=YES, min=2, max=3), ["yesyes", "yesyesyes"], ["yes", "yes" * 4]),
        (
            form("tag", begin="<t>", content=CALLS, end="</t>"),
            ["<t>a<f>1</f>b</t>", "<t></t>"],
            ["<t><f>2</f></t>", "<t>"],
        ),
        (
            form("tags_with_separator", tags=[TAG, OTHER], separator=", "),
            ["", "<f>1</f>", "<f>1</f>, <g>x</g>, <f>1</f>"],
            ["<f>1</f><f>1</f>", "a<f>1</f>", "<f>1</f>, "],
        ),
        (
            form("tags_with_separator", tags=[TAG], separator="", at_least_one=True, stop_after_first=True),
            ["<f>1</f>"],
            ["", "<f>1</f><f>1</f>"],
        ),
        ({**CALLS, "excludes": ["bad"]}, ["a<f>1</f>b"], ["bad", "a<f>1</f>bad", "bad<f>1</f>"]),
        (
            form("tag", begin=f"{END}f", content=TEXT, end=f"{END}x"),
            [f"{END}fabc{END}x"],
            [f"{END}fabc", f"{END}fabc{END}y"],
        ),
    ],
)
def test_formats(format: dict[str, Any], good: list[str], bad: list[str]) -> None:
    tag = {"type": "structural_tag", "format": format}
    assert [text for text in good if not accepts(text, structural_tag=tag)] == []
    assert [text for text in bad if accepts(text, structural_tag=tag)] == []


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ([], "of the formats const_string,"),
        (form("qwen_xml_parameter", json_schema={}), "of the formats"),
        (form(["or"]), "of the formats"),  # type: ignore[arg-type]
        (form("const_string", value=""), "value must be a string"),
        (form("regex", pattern="["), "unclosed character class"),
        (form("sequence", elements=[]), "elements must be a list"),
        (form("sequence", elements=[TEXT, ONE]), r"free text must be the last .* \(at format.elements\[0\]\)"),
        (form("sequence", elements=[YES, CALLS, ONE]), r"free text .* \(at format.elements\[1\]\)"),
        (
            form("or", elements=[YES, form("sequence", elements=[form("or", elements=[ONE, TEXT]), ONE])]),
            r"free text .* \(at format.elements\[1\].elements\[0\].elements\[1\]\)",
        ),
        (form("sequence", elements=[form("star", content=TEXT), YES]), r"free .* \(at format.elements\[0\].content\)"),
        (form("repeat", content=TEXT, min=2), r"free text .* \(at format.content\)"),
        (
            form("sequence", elements=[form("tag", begin="a", content=TEXT, end=""), ONE]),
            r"free text .* \(at format.elements\[0\].content\)",
        ),
        (
            form("sequence", elements=[TAG, {**TAG, "content": form("regex", pattern="")}]),
            r"\(at format.elements\[1\].content\)",
        ),
        (form("or", elements=[YES] * 1000), "at most 512 elements"),
        (form("repeat", content=YES, min=10**9), "0 to 1000"),
        (form("tag", begin={"type": "token", "token": 1}, content=TEXT, end=""), "begin must be a string"),
        (form("tag", begin="a", content=TEXT, end=7), "end of a tag"),
        (form("json_schema", json_schema={}, style="qwen_xml"), "styles"),
        ({**CALLS, "at_least_one": 1}, "at_least_one must be true or false"),
        ({**CALLS, "watermark": True}, "has no 'watermark' here"),
        ({**CALLS, "triggers": ["<g"]}, "begins with none of the triggers"),
    ],
)
def test_mistakes_are_told(format: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        compiled(structural_tag={"type": "structural_tag", "format": format})
