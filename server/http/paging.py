"""Lists in pages, as OpenAI's clients walk them: limit, after, order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import Request

from server.errors import bad_request


class Listed(Protocol):
    @property
    def id(self) -> str: ...
    def body(self) -> dict[str, Any]: ...


def page_of(request: Request, newest_first: Sequence[Listed], *, default: int, most: int) -> dict[str, Any]:
    """The page that a request's query asks for. Raises ApiError."""
    query = request.query_params
    found = list(newest_first)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise bad_request("order must be asc or desc.", "order")
    if order == "asc":
        found.reverse()
    if "after" in query:
        known = [position for position, item in enumerate(found) if item.id == query["after"]]
        if not known:
            raise bad_request("after names nothing in this list.", "after")
        found = found[known[0] + 1 :]
    limit = query.get("limit", str(default))
    if not limit.isdecimal() or not 1 <= int(limit[:9]) <= most:
        raise bad_request(f"limit must be 1 to {most}.", "limit")
    page = found[: int(limit)]
    return {
        "object": "list",
        "data": [item.body() for item in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(found) > len(page),
    }
