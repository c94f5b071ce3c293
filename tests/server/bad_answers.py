"""What an answer to bad input may look like: the stated code, one shape, nothing of the inside."""

from __future__ import annotations

import re

from tests.server.asgi import Answer
from tests.server.bad_rows import Case

INSIDE = re.compile(r"0x[0-9a-f]{6,}|/home|/work|/tmp|site-packages|Traceback|\.py\b|secret")


def check(case: Case, answer: Answer) -> None:
    assert answer.status in case.allowed, f"{case.what}: {answer.status} {answer.content[:300]!r}"
    assert answer.header(b"access-control-allow-origin") is None
    if answer.status >= 400:
        error = check_error(answer)
        if case.params and "param" in error and answer.status in (400, 404):
            assert (error["param"] or "").split(".")[0] in case.params, f"{case.what}: {error}"


def check_error(answer: Answer) -> dict:
    error = answer.json()["error"]
    assert set(error) in ({"message", "type", "param", "code"}, {"message", "type"})
    assert error["message"]
    assert len(answer.content) < 4096
    assert not INSIDE.search(answer.content.decode()), answer.content
    return error


def without_ids(content: bytes) -> bytes:
    return re.sub(rb'"(id|created)":("[^"]*"|\d+)', b"", content)
