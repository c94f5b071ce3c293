"""transformers' generate, in static batches: `python -m benchmarks.children.generate`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.children.protocol import Tasks, run_child
from benchmarks.workloads import Job, alike, mixed


class Generate:
    """A model in this process, and its float32 copy where tokens are compared."""

    def __init__(self, model: str, dtype: str, last: int) -> None:
        self.path, self.last = model, last
        self.model = self.load(dtype)

    def load(self, dtype: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.path, dtype=getattr(torch, dtype)).eval()

    def offline(self, requests: int, scale: float, seed: int, batch: int) -> dict[str, float]:
        """Each batch runs to its longest answer; only what was asked for counts."""
        jobs = mixed(requests, seed, self.last, scale)
        began = time.perf_counter()
        for index in range(0, len(jobs), batch):
            self.batch(self.model, jobs[index : index + batch])
        seconds = time.perf_counter() - began
        return {"tok_per_s": sum(job.answer for job in jobs) / seconds, "seconds": seconds}

    def greedy(self, requests: int, prompt: int, answer: int, seed: int) -> dict[str, Any]:
        """In float32, one by one: the reference."""
        exact = self.load("float32")
        return {"tokens": [self.batch(exact, [job])[0] for job in alike(requests, prompt, answer, seed, self.last)]}

    @staticmethod
    def batch(model: Any, jobs: Sequence[Job]) -> list[list[int]]:
        width, count = max(len(job.prompt) for job in jobs), max(job.answer for job in jobs)
        padding = [width - len(job.prompt) for job in jobs]
        tokens = torch.tensor([[0] * pad + job.prompt for pad, job in zip(padding, jobs, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * len(job.prompt) for pad, job in zip(padding, jobs, strict=True)])
        with torch.inference_mode():
            found = model.generate(
                input_ids=tokens, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, do_sample=False,
                pad_token_id=0, eos_token_id=None,
            )  # fmt: skip
        return [row[width : width + job.answer].tolist() for row, job in zip(found, jobs, strict=True)]


def start(model: str, dtype: str, last: int, threads: int) -> tuple[dict[str, Any], Tasks]:
    torch.set_num_threads(threads)
    began = time.perf_counter()
    generate = Generate(model, dtype, last)
    return {"load_s": time.perf_counter() - began}, {"offline": generate.offline, "greedy": generate.greedy}


if __name__ == "__main__":
    run_child(start)
