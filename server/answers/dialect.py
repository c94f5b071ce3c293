"""How a protocol shows an answer."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from jaxpaged import CompletionOutput, RequestOutput
from server.errors import bad_request

encode = msgspec.json.Encoder().encode


def refuse_error(completion: CompletionOutput) -> None:
    """Raise ApiError where the request's own parameters have ended an answer, for dialects that cannot show it."""
    if completion.finish_reason == "error":
        raise bad_request(f"The answer could not go on: {completion.stop_reason}.")


class WholeDialect(Protocol):
    """Turns outputs into one body: note() of each, then body()."""

    def note(self, output: RequestOutput) -> None: ...
    def body(self) -> dict[str, Any]: ...


class Dialect(WholeDialect, Protocol):
    """Turns outputs into one body, or into the events of a stream: begin, events of each output, end."""

    def begin(self) -> bytes: ...
    def events(self, output: RequestOutput) -> bytes: ...
    def end(self) -> bytes: ...
