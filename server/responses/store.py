"""Answers that previous_response_id and GET /v1/responses/{id} find again: in memory and bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from server.responses.texts import Message


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """As JSON, so that its size is known: the response, and the messages up to and with its answer."""

    owner: str
    response: bytes
    messages: bytes

    def size(self) -> int:
        return len(self.response) + len(self.messages)


class ResponseStore:
    """At most `max_count` responses of together at most `max_bytes`; the least recently used one goes first.

    Large answers are made, and so kept, in threads.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, StoredResponse] = OrderedDict()
        self._lock = threading.RLock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, owner: str, response: dict[str, Any], messages: list[Message]) -> None:
        """Keep a response, instead of what it was before; one larger than everything together is not kept."""
        entry = StoredResponse(owner, msgspec.json.encode(response), msgspec.json.encode(messages))
        with self._lock:
            self._drop(response["id"])
            if entry.size() > self._max_bytes or self._max_count < 1:
                return
            self._entries[response["id"]] = entry
            self.bytes += entry.size()
            while len(self._entries) > self._max_count or self.bytes > self._max_bytes:
                self.bytes -= self._entries.popitem(last=False)[1].size()

    def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """None for what is unknown, forgotten, or somebody else's."""
        with self._lock:
            entry = self._entries.get(response_id)
            if entry is None or entry.owner != owner:
                return None
            self._entries.move_to_end(response_id)
            return entry

    def remove(self, owner: str, response_id: str) -> bool:
        """False for what get() does not find."""
        with self._lock:
            if self.get(owner, response_id) is None:
                return False
            self._drop(response_id)
            return True

    @property
    def keeps_any(self) -> bool:
        """Whether there is room for anything at all."""
        return self._max_count > 0 and self._max_bytes > 0

    def _drop(self, response_id: str) -> None:
        entry = self._entries.pop(response_id, None)
        self.bytes -= 0 if entry is None else entry.size()
