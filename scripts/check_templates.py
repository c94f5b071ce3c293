"""Compare how conversations are rendered here and by transformers, for every chat template (*.jinja) in a folder.

    python scripts/check_templates.py FOLDER

Each conversation stands in two forms: as clients send it, and as vLLM hands it to transformers. Equal text is right,
and so is a refusal where transformers refuses. Where transformers drops a system message or refuses it where it stands,
we join it to the first one: such cases are counted as mended. Everything else is listed, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from jaxpaged.errors import RequestError
from jaxpaged.text.chat_template import ChatOptions, render_chat
from jaxpaged.text.template_abilities import TEMPLATE_FAULTS, template_abilities

Conversation = list[dict[str, Any]]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
PARTS = [{"type": "text", "text": "first part"}, {"type": "text", "text": "second part"}]
HELLO = {"role": "user", "content": "hello"}
HI = {"role": "assistant", "content": "hi there"}
MORE = {"role": "user", "content": "tell me more"}
SYSTEM = {"role": "system", "content": "be brief"}
LATE = {"role": "system", "content": "be polite"}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "weather", "content": "sunny"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "description": "a town"}},
            "required": ["town"],
        },
    },
}


def call(arguments: object, **fields: object) -> dict[str, Any]:
    function: dict[str, Any] = {"name": "weather"}
    if arguments is not None:
        function["arguments"] = arguments
    return {
        "role": "assistant",
        **fields,
        "tool_calls": [{"id": "call00001", "type": "function", "function": function}],
    }


# name -> (as it is sent, as vLLM hands it on, whether the tool is listed)
CASES: dict[str, tuple[Conversation, Conversation, bool]] = {
    "plain": ([HELLO], [HELLO], False),
    "turns": ([HELLO, HI, MORE], [HELLO, HI, MORE], False),
    "system": ([SYSTEM, HELLO], [SYSTEM, HELLO], False),
    "tools": ([HELLO], [HELLO], True),
    "system and tools": ([SYSTEM, HELLO], [SYSTEM, HELLO], True),
    "replayed call": (
        [HELLO, call('{"town": "Ulm"}', content=None), RESULT],
        [HELLO, call({"town": "Ulm"}, content=""), RESULT],
        True,
    ),
    "call without content": (
        [HELLO, call('{"town": "Ulm"}'), RESULT, HI, MORE],
        [HELLO, call({"town": "Ulm"}, content=""), RESULT, HI, MORE],
        True,
    ),
    "call without arguments": ([HELLO, call(None), RESULT], [HELLO, call({}, content=""), RESULT], True),
    "call cut off": ([HELLO, call('{"town": "U', content=None), RESULT], [HELLO, call({}, content=""), RESULT], True),
    "no calls": ([HELLO, {**HI, "tool_calls": []}, MORE], [HELLO, HI, MORE], False),
    "null content": (
        [HELLO, {"role": "assistant", "content": None}, MORE],
        [HELLO, {**HI, "content": ""}, MORE],
        False,
    ),
    "parts": ([{"role": "user", "content": PARTS}], [{"role": "user", "content": PARTS}], False),
    "assistant's parts": ([HELLO, {**HI, "content": PARTS}, MORE], [HELLO, {**HI, "content": PARTS}, MORE], False),
    "system's parts": ([{**SYSTEM, "content": PARTS}, HELLO], [{**SYSTEM, "content": PARTS}, HELLO], False),
    "reasoning": (
        [HELLO, {**HI, "reasoning": "hm"}, MORE],
        [HELLO, {**HI, "reasoning": "hm", "reasoning_content": "hm"}, MORE],
        False,
    ),
    "parts beside a call": (
        [{**HELLO, "content": PARTS}, call('{"town": "Ulm"}', content=PARTS), RESULT, MORE],
        [{**HELLO, "content": PARTS}, call({"town": "Ulm"}, content=PARTS), RESULT, MORE],
        True,
    ),
    "tool parts": (
        [HELLO, call('{"town": "Ulm"}'), {**RESULT, "content": PARTS}],
        [HELLO, call({"town": "Ulm"}, content=""), {**RESULT, "content": "first part\nsecond part"}],
        True,
    ),
    "developer": ([{**SYSTEM, "role": "developer"}, HELLO], [SYSTEM, HELLO], False),
    "two systems": ([SYSTEM, LATE, HELLO], [SYSTEM, LATE, HELLO], False),
    "late system": ([SYSTEM, HELLO, HI, LATE, MORE], [SYSTEM, HELLO, HI, LATE, MORE], False),
    "last system": ([SYSTEM, HELLO, HI, MORE, LATE], [SYSTEM, HELLO, HI, MORE, LATE], False),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    templates = sorted(parser.parse_args().folder.glob("*.jinja"))
    tokenizer = _tokenizer()
    totals: dict[str, Counter[str]] = {name: Counter() for name in CASES}
    for path in templates:
        for name in CASES:
            outcome, detail = _outcome(tokenizer, path.read_text(encoding="utf-8"), name)
            totals[name][outcome] += 1
            if outcome == "DIFFERS":
                print(f"{path.name}: {name}: {detail}")
    print(f"{len(templates)} templates")
    for name, counts in totals.items():
        print(f"{name:24}", ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return int(any(counts["DIFFERS"] for counts in totals.values()))


def _tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({token: index for index, token in enumerate(SPECIAL.values())}, "<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def _outcome(tokenizer: PreTrainedTokenizerFast, template: str, name: str) -> tuple[str, str]:
    sent, reference, listed = CASES[name]
    tools = [TOOL] if listed else None
    ours = _ours(tokenizer, template, sent, tools)
    theirs = _theirs(tokenizer, template, _in_vllms_form(template, reference), tools)
    if isinstance(ours, str) and ours == theirs:
        return "equal", ""
    if not isinstance(ours, str) and not isinstance(theirs, str):
        return "refused by both", ""
    said = [str(message["content"]) for message in reference if message["role"] == "system"]
    lost = not isinstance(theirs, str) or any(text not in theirs for text in said)
    if len(said) > 1 and lost and isinstance(ours, str) and all(text in ours for text in said):
        return "mended", ""
    return "DIFFERS", f"\n  ours   {ours!r}\n  theirs {theirs!r}"


def _in_vllms_form(template: str, conversation: Conversation) -> Conversation:
    """Contents and arguments as the template reads them."""
    abilities = template_abilities(template, tuple(SPECIAL.items()))
    form = []
    for message in conversation:
        content = message["content"]
        if isinstance(content, list) and message["role"] not in abilities.parts:
            content = "\n".join(part["text"] for part in content)
        elif isinstance(content, str) and message["role"] in abilities.only_parts:
            content = [{"type": "text", "text": content}]
        message = {**message, "content": content}
        if abilities.text_arguments and "tool_calls" in message:
            message["tool_calls"] = [
                {**said, "function": {**said["function"], "arguments": json.dumps(said["function"]["arguments"])}}
                for said in message["tool_calls"]
            ]
        form.append(message)
    return form


def _ours(
    tokenizer: PreTrainedTokenizerFast, template: str, conversation: Conversation, tools: Conversation | None
) -> str | Exception:
    try:
        return render_chat(tokenizer, conversation, ChatOptions(chat_template=template, tools=tools)).prompt
    except RequestError as error:
        return error


def _theirs(
    tokenizer: PreTrainedTokenizerFast, template: str, conversation: Conversation, tools: Conversation | None
) -> str | Exception:
    try:
        rendered: str = tokenizer.apply_chat_template(
            conversation, tools=tools, chat_template=template, add_generation_prompt=True, tokenize=False
        )
        return rendered
    except TEMPLATE_FAULTS as error:
        return error


if __name__ == "__main__":
    sys.exit(main())
