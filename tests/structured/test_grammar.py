"""What grammars let through: every kind of constraint, every kind of tokenizer, bounded memory."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import jaxpaged
from jaxpaged.errors import RequestError
from jaxpaged.params.structured import GrammarCost, StructuredOutputsParams
from jaxpaged.params.thought import Thought
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.vocabulary import GrammarVocabulary
from tests.structured.grammars import accepts, compiled, compiler, may_follow, vocabulary
from tests.text.samples import END, THINK, byte_fallback_backend, byte_level_backend

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TAG = {"begin": "<f>", "schema": SCHEMA, "end": "</f>"}


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"regex": "a{2,3}b?"}, ["aa", "aaab"], ["a", "aab!", "baa"]),
        ({"regex": "/\\d[\\d\\n#]//i"}, ["/1\n//i", "/12//i"], ["/٣3//i", "/1//i"]),
        (
            {"choice": ["yes", 'a "quoted" \\ one', "你好 🙂\n"]},
            ["yes", 'a "quoted" \\ one', "你好 🙂\n"],
            ["ye", "no"],
        ),
        ({"json_object": True}, ["{}", '{ "a": [1, null] }'], ["[]", "1", "{"]),
        (
            {"json_object": True},
            ['{\n    "a": {\n        "b": 1\n    }\n}'],
            ['{   "a":1}', '{"a":\n\n1}', "{" + " " * 30],
        ),
        ({"json_object": True, "disable_any_whitespace": True}, ['{"a":1}'], ['{"a": 1}']),
        ({"json_object": True, "whitespace_pattern": " "}, ['{"a": 1}'], ['{"a":  1}', '{"a":\n1}']),
        ({"json": SCHEMA}, ['{"a": -3}'], ["{}", '{"a":"1"}', '{"a":1,"b":"x"}']),
        ({"json": json.dumps({**SCHEMA, "additionalProperties": True})}, ['{"a":1}', '{"a":1,"b":"x"}'], ['{"b":1}']),
        ({"json": {"allOf": [SCHEMA, {"required": ["b"]}]}}, ['{"a":1,"b":"x"}'], ['{"a":1}']),
        ({"json": {**SCHEMA, "required": ["a", "b"]}}, ['{"a":1,"b":"x"}'], ['{"a":1}']),
        ({"json": {"type": "array", "items": SCHEMA, "minItems": 1}}, ['[{"a":1}]'], ["[]", '[{"a":1,"b":1}]']),
        ({"json": {"anyOf": [SCHEMA], "properties": {"b": {}}}}, ['{"a":1,"b":"x"}'], ['{"b":1}']),
        ({"grammar": 'start: "x" (start | "y")'}, ["xy", "xxy"], ["x", "y"]),
        ({"grammar": 'start: start "a" | "b"'}, ["b", "baa"], ["a"]),
        ({"grammar": 'root ::= "x" root | [0-9]'}, ["7", "xx7"], ["x"]),
        ({"grammar": 'root ::= start # a note\nstart ::= "\\u0041" [\\u0042\\-]'}, ["AB", "A-"], ["A", "AC"]),
        ({"grammar": 'root ::= a-b a_b\na-b ::= "x"{2}\na_b ::= "\\x79" | "\\"\\\\"'}, ["xxy", 'xx"\\'], ["xx"]),
        ({"choice": [f"item {index}" for index in range(3000)]}, ["item 7", "item 2999"], ["item 3000", "item "]),
        ({"json": {}}, ["1", '"a"', '{"a": [null]}'], ["", "a", "{"]),
        ({"json": "{}"}, ["true"], ["tru"]),
        ({"json": {"type": "string", "maxLength": 10**12, "format": "password"}}, ['"ab"'], ["1"]),
        ({"json": {"type": "array", "maxItems": 10**30, "items": {"const": 1}}}, ["[1,1]"], ["[2]"]),
        ({"json": {"const": {"properties": {"required": 1}}}}, ['{"properties": {"required": 1}}'], ["{}"]),
    ],
)
def test_each_constraint_lets_through_what_it_describes(fields: dict, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not accepts(text, **fields)] == []
    assert [text for text in bad if accepts(text, **fields)] == []


def test_a_structural_tag_is_free_text_until_its_trigger() -> None:
    tag = {"type": "structural_tag", "structures": [TAG, {**TAG, "begin": "<g>", "end": ""}], "triggers": ["<f", "<g>"]}
    for given in (tag, json.dumps(tag)):
        for text in ("", "hello", 'hi <f>{"a": 1}</f> and <g>{"a":2}', "1 < 2 <h>"):
            assert accepts(text, structural_tag=given), text
        for text in ("<f", "<f>{}</f>", '<f>{"a":1}', "<fx", "<g>1"):
            assert not accepts(text, structural_tag=given), text


def test_json_in_a_tag_has_as_little_whitespace_as_elsewhere() -> None:
    tag = {"type": "structural_tag", "structures": [TAG], "triggers": ["<f"]}
    assert accepts('<f>{ "a": 1 }</f>', structural_tag=tag)
    assert not accepts('<f>{   "a": 1 }</f>', structural_tag=tag)


def test_a_tag_may_be_asked_for_at_least_once_and_at_most_once() -> None:
    content = {"type": "json_schema", "json_schema": SCHEMA}
    tags = [{"begin": "<f>", "content": content, "end": "</f>"}]
    once = '<f>{"a":1}</f>'

    def takes(text: str, **flags: bool) -> bool:
        form = {"type": "triggered_tags", "triggers": ["<f"], "tags": tags, **flags}
        return accepts(text, structural_tag={"type": "structural_tag", "format": form})

    assert takes("no tag")
    assert takes(f"text {once} more {once}")
    assert takes(once, at_least_one=True)
    assert takes(f"{once} text {once}", at_least_one=True)
    assert not takes("", at_least_one=True)
    assert not takes(f"text {once}", at_least_one=True)
    assert takes(f"text {once}", stop_after_first=True)
    assert not takes(f"{once} text", stop_after_first=True)
    both = {"at_least_one": True, "stop_after_first": True}
    assert takes(once, **both)
    assert not takes(once + once, **both)


def test_special_tokens_are_no_text_but_tags_may_be_made_of_them() -> None:
    token = byte_level_backend().token_to_id(END)
    assert not may_follow(compiled(regex="(.|\\n)*").mask, token)
    tag = {"structures": [{"begin": f"{END}f ", "schema": SCHEMA, "end": END}], "triggers": [END]}
    assert accepts(f'text {END}f {{"a": 1}}{END} text', structural_tag=tag)
    assert not accepts(f"text {END}g", structural_tag=tag)
    assert accepts(f"{THINK} text", regex=f"{THINK} text")  # added, but not special: it is text


@pytest.mark.parametrize("kind", ["demo", "byte level", "byte fallback"])
def test_every_kind_of_tokenizer_spells_what_is_allowed(kind: str) -> None:
    demo = Path(jaxpaged.__file__).parent / "assets/demo/tokenizer.json"
    backend = {
        "demo": lambda: Tokenizer.from_file(str(demo)),
        "byte level": byte_level_backend,
        "byte fallback": byte_fallback_backend,
    }[kind]()
    size = backend.get_vocab_size()
    grammars = GrammarCompiler(GrammarVocabulary.from_json(backend.to_str(), size + 40))
    choice = ["hello world 你好", "stop it! 🙂"]
    grammar = grammars.submit(StructuredOutputsParams(choice=choice)).result(30)
    said = set()
    for pick in range(40):  # always some allowed token, another one each time
        constraint, mask, tokens = grammar.start.copy(), grammar.mask, []
        while not mask.complete:
            allowed = [token for token in range(size) if may_follow(mask, token)]
            tokens.append(allowed[(pick * 7 + len(tokens)) % len(allowed)])
            mask = constraint.advance(tokens[-1:])
            assert mask.error is None
        said.add(backend.decode(tokens, skip_special_tokens=False).strip())
    assert said == set(choice)
    grammars.close()


def test_logits_beyond_the_tokenizer_are_never_allowed_and_tokens_beyond_the_logits_do_no_harm() -> None:
    backend = byte_level_backend()
    size = backend.get_vocab_size()
    wide = GrammarVocabulary.from_json(backend.to_str(), size + 70)
    mask = GrammarCompiler(wide).submit(StructuredOutputsParams(regex="(.|\\n)*")).result(30).mask
    assert len(mask.words) == wide.words
    assert not any(may_follow(mask, token) for token in range(size, size + 70))
    narrow = GrammarVocabulary.from_json(backend.to_str(), size - 1)  # THINK, an added token, has no logit
    mask = GrammarCompiler(narrow).submit(StructuredOutputsParams(regex=".*")).result(30).mask
    assert len(mask.words) >= narrow.words


def test_a_constraint_can_be_copied_and_rolled_back() -> None:
    encode = lambda text: byte_level_backend().encode(text, add_special_tokens=False).ids  # noqa: E731
    grammar = compiled(regex="ab(c|d)e*")
    first = grammar.start.copy()
    assert not first.advance(encode("ab")).accepting
    second = first.copy()
    assert first.advance(encode("c")).accepting
    assert second.advance(encode("d")).accepting
    first.advance(encode("eee"))
    first.rollback(len(encode("eee")))
    after = first.advance([])
    assert after.accepting
    assert not after.complete
    assert compiled(regex="ab").start.copy().advance(encode("ab")).complete
    assert "allows nothing more" in (first.advance(encode("x")).error or "")
    assert first.advance(encode("e")).error is not None  # an error stays
    assert second.advance(encode("e")).error is None


def test_compiled_grammars_are_shared_and_forgotten_in_turn() -> None:
    grammars = GrammarCompiler(vocabulary(), max_entries=2)
    one, two, three = (StructuredOutputsParams(regex=text) for text in "abc")
    first = grammars.submit(one)
    assert grammars.submit(StructuredOutputsParams(regex="a")) is first
    grammars.submit(two)
    assert grammars.submit(one) is first  # it is the newest now
    grammars.submit(three)
    assert len(grammars) == 2
    assert grammars.submit(one) is first
    one._cost = two._cost = GrammarCost(bytes=10**6)
    small = GrammarCompiler(vocabulary(), max_bytes=2 * 10**6)
    for params in (one, two, three):
        small.submit(params)
    assert len(small) == 2  # those of a megabyte do not both go with the small one
    one._cost = GrammarCost(bytes=10**9)
    small.submit(one)
    assert len(small) == 1
    for each in (grammars, small):
        each.close()


def test_five_thousand_schemas_leave_no_more_memory_than_five_hundred() -> None:
    grammars = GrammarCompiler(vocabulary())

    def compile_many(start: int, stop: int) -> None:
        for index in range(start, stop):
            properties = {f"field_{index}_{k}": {"type": "string", "pattern": f"[a-z]+{index}"} for k in range(5)}
            schema = {"type": "object", "properties": properties, "required": list(properties)}
            grammars.submit(StructuredOutputsParams(json=schema)).result(30)

    compile_many(0, 500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compile_many(500, 5000)
    assert len(grammars) <= grammars.max_entries
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB
    grammars.close()


def test_masks_are_worked_out_in_parallel_without_getting_mixed_up() -> None:
    texts = [f"{index:03}" * 5 for index in range(32)]

    def walk(text: str) -> bool:
        grammar = compiler().submit(StructuredOutputsParams(regex="[0-9]*")).result(30)
        constraint = grammar.start.copy()
        return all(
            constraint.advance([token]).error is None
            for token in byte_level_backend().encode(text, add_special_tokens=False).ids
        )

    compiler().submit(StructuredOutputsParams(regex="[0-9]*")).result(30)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(walk, texts))


OPENED = Thought(("<think>",), ("</think>", "[/T]"), opened=True)
OFFERED = Thought(("<think>", "[T]"), ("</think>",))


@pytest.mark.parametrize(
    "fields", [{"json": SCHEMA}, {"regex": r'\{"a":\d\}'}, {"grammar": r'start: "{\"a\":" /\d/ "}"'}]
)
def test_an_answer_may_come_after_a_thought(fields: dict) -> None:
    answer = '{"a":1}'
    good = [f"{{Hm</think>{answer}", f"</think>\n\n{answer}", f"a[/T] {answer}"]
    assert [text for text in good if not accepts(text, thought=OPENED, **fields)] == []
    bad = [answer, f"Hm</think>x{answer}", f"a</think>{answer}{answer}", "a</think>"]
    assert [text for text in bad if accepts(text, thought=OPENED, **fields)] == []
    good = [answer, f"<think>Hm\n</think>\n{answer}", f"[T]</think>{answer}"]
    assert [text for text in good if not accepts(text, thought=OFFERED, **fields)] == []
    bad = [f"Hm</think>{answer}", f"<think>{answer}", "<think></think>", f" {answer} "]
    assert [text for text in bad if accepts(text, thought=OFFERED, **fields)] == []


@pytest.mark.parametrize(
    "fields", [{"json": SCHEMA}, {"json_object": True}, {"regex": r'\{"a":\d\}'}, {"choice": ['{"a":1}', "b"]}]
)
def test_white_space_has_an_end(fields: dict) -> None:
    """Before an answer, after it, within it and between it and a thought: a grammar lets no model go on in blanks."""
    for thought, begun in ((None, ""), (OPENED, "Hm</think>"), (OFFERED, "<think>Hm</think>"), (OFFERED, "")):
        for blanks in (" " * 9, "\n" * 9, "\r\n" * 9, "\t" * 9, " \n" * 9):
            for text in (f'{blanks}{{"a":1}}', f'{{"a":1}}{blanks}', f'{{{blanks}"a":1}}', f'{{"a"{blanks}:1}}'):
                assert not accepts(begun + text, thought=thought, **fields), (begun, text)


def test_white_space_between_items_has_an_end() -> None:
    schema = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}
    for blanks in (" " * 9, "\n" * 9, " \n" * 9):
        for text in ("[[1],%s[2]]", "[[1]%s,[2]]", "[%s[1]]", "[[1%s]]", "[[1]%s]"):
            assert accepts(text % "", json=schema)
            assert not accepts(text % blanks, json=schema), text


def test_a_thought_is_not_a_field_of_the_wire() -> None:
    with pytest.raises(RequestError, match="has no field 'thought'"):
        StructuredOutputsParams.of_fields({"json": SCHEMA, "thought": {"begin": []}})
