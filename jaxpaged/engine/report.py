"""What start-up chose and why, as lines for whoever starts a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One line: what was chosen, and why."""

    name: str
    value: str
    reason: str = ""

    def __str__(self) -> str:
        return f"  {self.name:<10}{self.value}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class ContextChoice:
    """The context that is served, in tokens, beside what the model can and what was asked for (None: nothing)."""

    served: int
    longest: int
    asked: int | None

    def choice(self) -> Choice:
        if self.asked is not None:
            reason = f"as --max-model-len says; the model can {self.longest:,}"
        elif self.served < self.longest:
            reason = f"what the KV pages hold of the model's {self.longest:,}; --max-model-len chooses another"
        else:
            reason = "the model's own"
        return Choice("context", f"{self.served:,} tokens", reason)


def page_choice(page_size: int, default: int) -> Choice:
    """A request leaves about half of its last page empty: the mean waste, in tokens."""
    why = "the default" if page_size == default else "as --block-size says"
    return Choice("page", f"{page_size} tokens", f"{why}; a request leaves about {page_size // 2} slots empty")


def pool_choice(pages: int, page_size: int, asked: str | None) -> Choice:
    """`asked` names the flag that fixed the size."""
    why = f"as {asked} says" if asked else "what the memory holds, and no more than --max-num-seqs requests can use"
    return Choice("pool", f"{pages:,} pages, {(pages - 1) * page_size:,} tokens", why)


def step_choice(sequences: int, tokens: int) -> Choice:
    return Choice("step", f"up to {sequences:,} sequences and {tokens:,} tokens", "longer prompts are cut into chunks")


def written(choices: Iterable[Choice]) -> str:
    """A line each."""
    return "\n".join(map(str, choices))
