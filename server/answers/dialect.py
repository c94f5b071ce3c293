"""How a protocol shows an answer."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from jaxpaged import RequestOutput

encode = msgspec.json.Encoder().encode


class Dialect(Protocol):
    """Turns outputs into the events of a stream, or into one body: begin, events of each output, end; or note, body."""

    def begin(self) -> bytes: ...
    def events(self, output: RequestOutput) -> bytes: ...
    def end(self) -> bytes: ...
    def note(self, output: RequestOutput) -> None: ...
    def body(self) -> dict[str, Any]: ...
