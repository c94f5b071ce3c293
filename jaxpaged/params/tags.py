"""Texts as grammars spell them, some of which are special tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

# Between the tokens of JSON: a blank, or a new line and its indentation. Without a bound a small model fills its answer
# with blanks.
WHITESPACE = r"[ \t]|\r?\n[ \t]{0,20}"
ANY_OBJECT = f"%json {json.dumps({'type': 'object', 'x-guidance': {'whitespace_pattern': WHITESPACE}})}"


def spelled(text: str, special: Mapping[str, int]) -> str:
    """A text as Lark literals and special tokens."""
    if not special or not text:
        return literal(text) if text else ""
    pattern = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    parts = re.split(f"({pattern})", text)
    return " ".join(f"<[{special[part]}]>" if part in special else literal(part) for part in parts if part)


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
