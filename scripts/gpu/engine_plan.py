"""How much of each part of the engine's benchmark is run: on a card in minutes, anywhere with a tiny model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gpu.card import NEEDED_MEMORY
from gpu.llama import LLAMA_1B, LLAMA_8B, TINY
from jaxpaged.execution.buckets import Buckets


@dataclass(frozen=True)
class Workload:
    """`requests` random prompts of `prompt` tokens, each answered with `answer` tokens."""

    requests: int
    prompt: int
    answer: int


@dataclass(frozen=True)
class EnginePlan:
    """Workloads, the engine's limits, and the only sizes that are compiled: a lease has no time for the whole ladder.

    single, batch: what time per output token is taken from. conversations: mean lengths of ShareGPT as the
    PagedAttention paper gives them, 161 and 338. generate_batches: of transformers' generate beside it.
    kv_share: of the memory that JAX may use, weights included.
    """

    config: MappingProxyType[str, Any]
    buckets: Buckets
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    single: Workload
    batch: Workload
    offline: Workload
    conversations: Workload
    generate_batches: tuple[int, ...]
    kv_share: float


FULL = EnginePlan(
    config=LLAMA_8B,
    buckets=Buckets((8, 64, 256, 512, 2048), (8, 64, 256), (8, 64, 256), (256,), (), decodes_only=64),
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    max_model_len=4096,
    single=Workload(1, 900, 257),
    batch=Workload(64, 1920, 257),
    offline=Workload(512, 1000, 1000),
    conversations=Workload(1024, 161, 338),
    generate_batches=(1, 8, 32),
    kv_share=0.9,
)
SMALL = replace(
    FULL, config=LLAMA_1B, batch=Workload(16, 1920, 257), offline=Workload(128, 1000, 300),
    conversations=Workload(256, 161, 338),
)  # fmt: skip
QUICK = EnginePlan(
    config=TINY,
    buckets=Buckets((8, 32), (8,), (8,), (8,), ()),
    max_num_seqs=8,
    max_num_batched_tokens=32,
    max_model_len=128,
    single=Workload(1, 12, 17),
    batch=Workload(4, 24, 17),
    offline=Workload(12, 20, 20),
    conversations=Workload(12, 16, 34),
    generate_batches=(1, 2),
    kv_share=0.9,
)


def plan_for(*, quick: bool, memory: int) -> EnginePlan:
    """`memory`: bytes that JAX may use, 0 where it is not known."""
    if quick:
        return QUICK
    return SMALL if 0 < memory < NEEDED_MEMORY else FULL
