"""What start-up chose and why, as lines for whoever starts a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxpaged.config import CacheConfig, SchedulerConfig, SchedulerLimits


@dataclass(frozen=True, slots=True)
class StartChoice:
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

    def choice(self) -> StartChoice:
        if self.asked is not None:
            reason = f"as --max-model-len says; the model can {self.longest:,}"
        elif self.served < self.longest:
            reason = f"what the KV pages hold of the model's {self.longest:,}; --max-model-len chooses another"
        else:
            reason = "the model's own"
        return StartChoice("context", f"{self.served:,} tokens", reason)


def page_choice(page_size: int, reason: str) -> StartChoice:
    """A request leaves about half of its last page empty: the mean waste, in tokens."""
    return StartChoice("page", f"{page_size} tokens", f"{reason}; a request leaves about {page_size // 2} slots empty")


def pool_choice(pages: int, page_size: int, asked: CacheConfig) -> StartChoice:
    """The pages, the null page included, and the tokens they hold."""
    flags = {
        "--num-gpu-blocks-override": asked.num_gpu_blocks_override,
        "--kv-cache-memory-bytes": asked.kv_cache_memory_bytes,
    }
    given = next((flag for flag, value in flags.items() if value), None)
    why = f"as {given} says" if given else "what the memory holds, and no more than --max-num-seqs requests can use"
    return StartChoice("pool", f"{pages:,} pages, {(pages - 1) * page_size:,} tokens", why)


def step_choice(limits: SchedulerLimits, asked: SchedulerConfig, suits: str) -> StartChoice:
    """`suits` is the reason for what was not asked for."""
    flags = {"--max-num-seqs": asked.max_num_seqs, "--max-num-batched-tokens": asked.max_num_batched_tokens}
    given = " and ".join(flag for flag, value in flags.items() if value is not None)
    reason = f"as {given} says" if given else suits
    value = f"up to {limits.max_num_seqs:,} sequences and {limits.max_num_batched_tokens:,} tokens"
    return StartChoice("step", value, f"{reason}; longer prompts are cut into chunks")


def layers_choice(loop: str, asked: str, suits: str) -> StartChoice:
    """How a program runs the layers."""
    return StartChoice("layers", loop, suits if asked == "auto" else "as --layer-loop says")


def render(choices: Iterable[StartChoice]) -> str:
    """A line each."""
    return "\n".join(map(str, choices))
