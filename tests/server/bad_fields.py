"""Values that fields must not have: row of the reliability table -> (changes to a good body, codes that may answer).

The first field of a change is the one that a 400 names. The vocabulary has 512 tokens (the tokenizer knows fewer), the
context 4,096.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BIG = 10**400
HUGE_TEXT = 10**7
VOCAB = 512
CONTEXT = 4096


@dataclass(frozen=True)
class Big:
    """A change of one field to a value that takes memory; made when it is needed."""

    field: str
    make: Callable[[], Any]


type Change = dict[str, Any] | Big
REFUSED, SERVED, EITHER = (400,), (200,), (200, 400)

NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", '"0.5"', "true", "[1]", "{}")
INTEGERS = (2**31, 2**63, 2**64, -(2**63), BIG, -BIG)
# fields that take 64-bit values, or that an answer may only be shorter for
INTEGER_EXCEPTIONS: dict[str, tuple[int, ...]] = {"seed": EITHER, "truncate_prompt_tokens": EITHER}


# wire field -> the names under which a refusal of it may go; "" is a refusal of the body
ALIASES = {
    "logit_bias": ("",),
    "max_completion_tokens": ("max_tokens",),
    "top_logprobs": ("logprobs",),
    "messages": ("prompt",),  # /tokenize wants one of the two
    "n": ("beam_width", "use_beam_search"),
    "best_of": ("n",),
    "documents": ("queries",),
    "stop_token_ids": ("min_tokens",),
    "tool_choice": ("tools",),
    "prompt": ("n", "logit_bias"),
}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def json_schema(schema: Any) -> dict[str, Any]:
    return {"response_format": schema_format(schema)}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, **function}}


MESSAGE = {"role": "user", "content": "a"}
SCHEMAS: list[Any] = [
    {"type": "strin"}, {"$ref": "#/$defs/missing"}, {"$ref": "http://127.0.0.1:9/schema.json"}, {"type": 3}, "text",
    {"type": "string", "pattern": "("}, {"type": "string", "minLength": 2**31}, {"type": "string", "minLength": -1},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
]  # fmt: skip

FIELDS: dict[int, list[tuple[Change, tuple[int, ...]]]] = {
    11: [({"n": n}, REFUSED) for n in (0, -1, 129, 2**31)] + [({"n": 2, "temperature": 0}, REFUSED)],
    12: [({"prompt": p}, REFUSED) for p in (None, [], [[]], "", ["a", 1], [1, "a"], [[1], "a"], [1.5], [True], {}, 3)]
    + [({"input": p}, REFUSED) for p in (None, [], [[]], ["a", 1], [1.5], {}, 3)]
    + [(Big("prompt", lambda: ["a"] * 100_000), REFUSED), (Big("input", lambda: ["a"] * 100_000), REFUSED)],
    13: [
        ({"best_of": 10**6}, REFUSED),
        ({"best_of": 1, "n": 2}, REFUSED),
        ({"n": 10**6, "use_beam_search": True}, REFUSED),
        ({"n": 100, "prompt": ["a"] * 1000}, REFUSED),
        ({"use_beam_search": "yes"}, REFUSED),
    ],
    14: [
        *[({name: n}, REFUSED) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")
          for n in (0, -1, 2**31)],
        ({"prompt": [5] * CONTEXT}, REFUSED),
        ({"prompt": [5] * (CONTEXT + 1)}, REFUSED),
        ({"prompt": [5] * (CONTEXT - 1), "max_tokens": 100}, SERVED),
        (Big("messages", lambda: [{"role": "user", "content": "hello " * CONTEXT}]), EITHER),
    ],
    15: [
        *[({name: value}, REFUSED) for name in ("stop", "stop_sequences") for value in ([""], ["a", 3], {})],
        ({"stop": ""}, REFUSED),
        (Big("stop", lambda: [f"stop {i}" for i in range(10_000)]), REFUSED),
        (Big("stop_sequences", lambda: [f"stop {i}" for i in range(10_000)]), REFUSED),
        (Big("stop", lambda: "x" * HUGE_TEXT), REFUSED),
        (Big("stop_sequences", lambda: ["x" * HUGE_TEXT]), REFUSED),
    ],
    16: [
        (Big("bad_words", lambda: [f"w{i}" for i in range(10**5)]), REFUSED),
        (Big("bad_words", lambda: ["x" * HUGE_TEXT]), REFUSED),
        ({"bad_words": [""]}, REFUSED),
        (Big("bad_words", lambda: ["x" * 1000 + str(i) for i in range(100)]), REFUSED),
        (Big("logit_bias", lambda: {str(i): 1.0 for i in range(10**6)}), REFUSED),
        *[({"logit_bias": bias}, REFUSED) for bias in ({"x": 1}, {"1": "2"}, {"": 1}, {"1.5": 1}, [1])],
        ({"logit_bias": {"1": 101}}, EITHER),
        ({"allowed_token_ids": []}, REFUSED),
        (Big("allowed_token_ids", lambda: list(range(10**6))), REFUSED),
        (Big("logprob_token_ids", lambda: list(range(10**6))), REFUSED),
    ],
    17: [({name: [token]}, REFUSED) for name in ("prompt", "tokens", "input")
         for token in (-1, VOCAB, VOCAB + 64, 2**31, 2**32 + 5, -(2**31))],
    18: [
        *[({name: [token]}, REFUSED) for name in ("stop_token_ids", "allowed_token_ids", "logprob_token_ids")
          for token in (-1, VOCAB, 2**31, 2**32 + 5)],
        *[({"logit_bias": {str(token): 1.0}}, REFUSED) for token in (-1, VOCAB, 2**31, 2**32 + 5)],
    ],
    19: [
        ({"stop_token_ids": [VOCAB], "min_tokens": 5, "max_tokens": 9}, REFUSED),
        ({"min_tokens": 3, "max_tokens": 2}, REFUSED),
        ({"min_tokens": 10**6, "max_tokens": None}, REFUSED),
        ({"min_tokens": -1}, REFUSED),
    ],
    20: [
        *[({"temperature": t}, REFUSED) for t in (-1, 2.1, 1e300)],
        *[({"top_p": p}, REFUSED) for p in (0, -1, 1.01)],
        *[({"top_k": k}, REFUSED) for k in (-2, 2**31)],
        *[({"min_p": p}, REFUSED) for p in (-1, 2)],
        *[({name: p}, REFUSED) for name in ("presence_penalty", "frequency_penalty") for p in (-2.1, 2.1)],
        ({"repetition_penalty": 0}, REFUSED),
        ({"repetition_penalty": 1e39}, REFUSED),
        ({"repetition_penalty": 1e38}, SERVED),
        ({"temperature": 1e-320}, SERVED),
        ({"length_penalty": 2.0}, REFUSED),
    ],
    21: [
        *[({"prompt_logprobs": n}, REFUSED) for n in (-2, 21, 10**6)],
        *[({"logprobs": n}, REFUSED) for n in (-2, 21, 10**6)],
        ({"top_logprobs": 2, "logprobs": False}, REFUSED),
        ({"top_logprobs": 21, "logprobs": True}, REFUSED),
        ({"prompt": [5] * 4000, "prompt_logprobs": 20, "max_tokens": 1}, SERVED),
    ],
    22: [({"allowed_token_ids": [VOCAB - 1], "bad_words": ["hello"]}, EITHER)],
    23: [({"structured_outputs": {"regex": regex}}, allowed) for regex, allowed in (
        ("(a+)+b", EITHER), ("(x{1,1000}){1,1000}", EITHER), ("[", REFUSED), ("(?<=a)b", REFUSED), ("(", REFUSED),
        ("\\1", REFUSED), ("a" * 10**6, EITHER))]
    + [({"guided_regex": "["}, REFUSED)],
    24: [*[(json_schema(schema), REFUSED) for schema in SCHEMAS],
         *[({"structured_outputs": {"json": schema}}, REFUSED) for schema in SCHEMAS],
         (Big("response_format", lambda: schema_format({"anyOf": [{"const": str(i)} for i in range(10**4)]})), EITHER),
         (Big("response_format", lambda: schema_format({"enum": [f"v{i}" for i in range(10**6)]})), EITHER),
         (json_schema(nested(200)), EITHER),
         ({"guided_json": "{"}, REFUSED)],
    25: [({"structured_outputs": {"grammar": grammar}}, REFUSED)
         for grammar in ("", 'start: "a', "(" * 30_000, "start: start start", "start: other", 3)]
    + [({"guided_grammar": "start: ("}, REFUSED)],
    26: [({"structured_outputs": value}, REFUSED)
         for value in ({}, "", [], 3, {"regex": ""}, {"choice": []}, {"choice": [""]}, {"regex": "a", "choice": ["b"]})]
    + [({"response_format": value}, REFUSED) for value in ({}, {"type": "xml"}, {"type": "json_schema"}, "json", 3)],
    28: [
        *[({"tools": tools}, REFUSED) for tools in (
            [tool(name="../x")], [tool(name="")], [tool(name="x" * 1000)], [tool(parameters="string")], [{}], [3], "f",
            [tool(parameters=nested(200))],
            [tool(parameters={"type": "object", "properties": {"a": {"type": "strin"}}})] * 10_000)],
        *[({"tool_choice": choice, "tools": [tool()]}, REFUSED) for choice in (
            "unknown", {"type": "function", "function": {"name": "missing"}}, 3, {"type": "nothing"},
            {"type": "allowed_tools"})],
        ({"tool_choice": "required"}, REFUSED),
    ],
    31: [({"chat_template": text}, REFUSED) for text in (
        "{% for i in range(10**9) %}x{% endfor %}", "{{ 'a'*10**10 }}", "{{ ''.__class__ }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "x")],
    32: [({"chat_template_kwargs": kwargs}, REFUSED) for kwargs in (
        {"tokenize": True}, {"chat_template": "x"}, {"messages": []}, {"add_generation_prompt": []}, {"tools": []},
        {"conversation": []}, {"return_dict": True}, "x", [1])]
    + [({"chat_template_kwargs": {"mood": mark}}, SERVED) for mark in ("\ufdd0" "9\ufdd1", "\ufdef", "<|im_end|>")],
    33: [
        ({"messages": []}, REFUSED),
        ({"messages": None}, REFUSED),
        ({"messages": [3]}, REFUSED),
        ({"messages": [{"content": "no role"}]}, REFUSED),
        ({"messages": [{"role": "", "content": "a"}]}, REFUSED),
        ({"messages": [{"role": "user", "content": 3}]}, REFUSED),
        ({"messages": [{"role": "user", "content": [["a"]]}]}, REFUSED),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, REFUSED),
        ({"messages": [{"role": "nobody", "content": "a"}]}, EITHER),
        ({"messages": [{"role": "\ufdd0" "9\ufdd1", "content": "a"}]}, EITHER),
        ({"messages": [MESSAGE, {"role": "assistant", "tool_calls": [tool(arguments="{" * 10**5)]}]}, EITHER),
        ({"messages": [{"role": "user", "content": None}]}, EITHER),
        ({"messages": [MESSAGE, {"role": "assistant", "content": "b"}]}, EITHER),
        (Big("messages", lambda: [MESSAGE] * 100_000), REFUSED),
    ],
    34: [
        ({"cache_salt": ""}, REFUSED),
        (Big("cache_salt", lambda: "x" * HUGE_TEXT), REFUSED),
        *[({"cache_salt": salt}, SERVED) for salt in ("/", "\0", "\U0001f642")],
        (Big("model", lambda: "x" * HUGE_TEXT), (404,)),
    ],
    48: [
        ({"mm_processor_kwargs": {"code_revision": "x"}}, REFUSED),
        ({"kv_transfer_params": {"do_remote_prefill": True}}, REFUSED),
        ({"vllm_xargs": {"a": 1}}, REFUSED),
        ({"repetition_detection": {"max_pattern_size": 3}}, REFUSED),
        *[({"thinking_token_budget": budget}, REFUSED) for budget in ("x", -2, True, 1.5, 2**31, 2**63, [])],
    ],
    54: [({"model": name}, (404,)) for name in ("gpt-5", "../../etc/passwd", "\0", "fake ", "FAKE")],
    56: [
        *[({"dimensions": n}, REFUSED) for n in (0, -1, 10**6)],
        *[({"documents": documents}, REFUSED) for documents in ([], "x", [3])],
        (Big("documents", lambda: ["x"] * 10**5), REFUSED),
    ],
}  # fmt: skip
