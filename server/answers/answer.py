"""One HTTP answer on its way: how its client wants it, whose prompts it answers, and what has been counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxpaged import PreparedRequest, RequestOutput


@dataclass(frozen=True, slots=True)
class Reply:
    """How the client wants its answer."""

    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    echo: bool = False
    echo_only: bool = False
    return_token_ids: bool = False
    tokens_as_ids: bool = False
    prompt_logprobs: bool = False
    reasoning: bool = True
    show_special: bool = False


@dataclass(slots=True)
class Usage:
    """Sums over the prompts and completions of one HTTP request. Each prompt counts once, whatever n is."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    count_reasoning: Callable[[], int] | None = None  # where answers are parsed

    def note(self, output: RequestOutput) -> None:
        """Add a delta, or a final output."""
        for completion in output.outputs:
            self.completion_tokens += len(completion.token_ids)
        if output.finished:
            self.cached_tokens += output.num_cached_tokens or 0

    def written_tokens(self, page_size: int) -> int:
        """Prompt tokens that the prefix cache keeps now and had not: those of full pages. 0: it keeps none."""
        if not page_size:
            return 0
        return max(0, self.prompt_tokens // page_size * page_size - self.cached_tokens)

    def body(self) -> dict[str, Any]:
        reasoning = None if self.count_reasoning is None else {"reasoning_tokens": self.count_reasoning()}
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": reasoning,
        }


@dataclass(slots=True, eq=False, weakref_slot=True)
class Answer:
    """One HTTP request on its way: its prompts in order, and what has been counted."""

    id: str
    model: str
    reply: Reply
    batch: list[PreparedRequest]
    created: int = field(default_factory=lambda: int(time.time()))
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        self.usage.prompt_tokens = sum(len(prepared.prompt_token_ids) for prepared in self.batch)

    def positions(self) -> dict[str, int]:
        """Request id -> index of its prompt."""
        return {prepared.request_id: index for index, prepared in enumerate(self.batch)}

    def head(self, kind: str) -> dict[str, Any]:
        """What every object of the answer begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A body that is complete; fields that clients look for and nothing here fills are null."""
        return {
            **self.head(kind),
            "choices": choices,
            "usage": self.usage.body(),
            "service_tier": None,
            "system_fingerprint": None,
            "kv_transfer_params": None,
        }
