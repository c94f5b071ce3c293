"""How many tokens an answer took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxpaged import RequestOutput


@dataclass(slots=True)
class Usage:
    """Sums over the prompts and completions of one HTTP request. Each prompt counts once, whatever n is."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def note(self, output: RequestOutput) -> None:
        """Add a delta, or a final output."""
        for completion in output.outputs:
            self.completion_tokens += len(completion.token_ids)
        if output.finished:
            self.cached_tokens += output.num_cached_tokens or 0

    def body(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
