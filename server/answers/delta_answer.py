"""One body for a request whose outputs come as deltas."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive

from jaxpaged import OutputStream, RequestOutput
from server.answers.streaming import check, closing_on_disconnect
from server.errors import json_response


class DeltaDialect(Protocol):
    """Adds deltas up."""

    def note(self, output: RequestOutput) -> None: ...
    def whole(self) -> dict[str, Any]: ...


async def answer_from_deltas(stream: OutputStream, dialect: DeltaDialect, receive: Receive) -> Response:
    """Wait for the end. A client that goes away ends the request."""
    async with closing_on_disconnect(stream, receive):
        while bundle := await stream.take():
            for output in bundle:
                if output.finished:
                    check(output)
                dialect.note(output)
    return json_response(200, dialect.whole())
