"""How much of each benchmark is run: in full, or as a rehearsal with the bundled model."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

SMOL135 = MappingProxyType({"layers": 30, "q_heads": 9, "kv_heads": 3, "head_dim": 64})


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens. `last`: prompts' ids are below it. `layer`: the model's attention, for a step's parts.

    requests, generate_requests: of the offline workload, ours and of transformers' generate (in batches of 16).
    streams, growth: numbers of clients; with every peer and all rounds, or with vLLM and once.
    samples, beams, prefix: arguments of the children's tasks. starts: of ours, beside the one that fills the cache.
    scheduler, kernels, http: arguments of our own scripts.
    """

    last: int
    requests: int
    scale: float
    generate_requests: int
    streams: tuple[int, ...]
    growth: tuple[int, ...]
    prompts: tuple[int, ...]
    samples: dict[str, int]
    beams: dict[str, int]
    prefix: dict[str, int]
    greedy: dict[str, int]
    starts: int
    rows: tuple[int, ...]
    answer: int
    layer: dict[str, int]
    scheduler: tuple[str, ...]
    kernels: tuple[str, ...]
    http: tuple[str, ...]
    llm: dict[str, Any] = field(default_factory=dict)
    serve: tuple[str, ...] = ()

    def requests_of(self, clients: int) -> int:
        """Enough for each client to ask twice, and for one to be measured; many clients ask once."""
        return min(self.requests, max(6, 2 * clients)) if clients <= self.requests else clients


FULL = Sizes(
    last=16_000,
    requests=64,
    scale=1.0,
    generate_requests=32,
    streams=(1, 4, 8, 16, 64),
    growth=(2, 32, 128, 256),
    prompts=(128, 512, 2048, 8192),
    samples={"prompts": 8, "n": 6, "prompt": 161, "answer": 64},
    beams={"prompts": 4, "width": 4, "prompt": 161, "answer": 32},
    prefix={"requests": 32, "prefix": 341, "answer": 16},
    greedy={"requests": 3, "prompt": 48, "answer": 16, "seed": 0},
    starts=2,
    rows=(1, 8, 64),
    answer=48,
    layer=dict(SMOL135),
    scheduler=("--running", "256", "1024", "4096", "--churn", "0.025"),
    kernels=("--suite", "layers", "--case", "decode1", "--case", "decode8", "--case", "decode64"),
    http=("--at-once",),
)
QUICK = Sizes(
    last=1_000,
    requests=4,
    scale=0.1,
    generate_requests=2,
    streams=(1, 4),
    growth=(2,),
    prompts=(16, 64),
    samples={"prompts": 1, "n": 2, "prompt": 16, "answer": 2},
    beams={"prompts": 1, "width": 2, "prompt": 16, "answer": 2},
    prefix={"requests": 2, "prefix": 40, "answer": 2},
    greedy={"requests": 2, "prompt": 12, "answer": 6, "seed": 0},
    starts=0,
    rows=(1,),
    answer=8,
    layer={"layers": 2, "q_heads": 4, "kv_heads": 2, "head_dim": 64},
    scheduler=("--running", "8", "--steps", "8", "--churn", "0.5"),
    kernels=("--suite", "layers", "--case", "decode1", "--layers", "2", "--repeats", "2"),
    http=("--streams", "4", "--tokens", "4", "--repeats", "1", "--at-once"),
    llm={"max_num_seqs": 16, "max_num_batched_tokens": 64},  # those of other tests: programs are kept
    serve=("--engine-class", "tests.benchmarks.stand_in:BundledEngine"),
)
