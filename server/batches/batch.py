"""A batch: what has been asked, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
ENDED: frozenset[Status] = frozenset(("failed", "completed", "expired", "cancelled"))
DAY = 24 * 3600


@dataclass(slots=True)
class Batch:
    """`times` are seconds since 1970 by status; `errors` say why a batch as a whole has failed."""

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str]
    output_expires_after: int | None = None
    status: Status = "validating"
    created_at: int = field(default_factory=lambda: int(time.time()))
    times: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def enter(self, status: Status) -> None:
        self.status = status
        self.times[status] = int(time.time())

    def fail(self, code: str, message: str) -> None:
        self.errors.append({"code": code, "message": message, "line": None, "param": None})
        self.enter("failed")

    def body(self) -> dict[str, Any]:
        """OpenAI's batch object."""
        statuses = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + DAY,
            **{f"{status}_at": self.times.get(status) for status in statuses},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata or None,
        }
