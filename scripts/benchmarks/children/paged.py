"""An engine with vLLM's classes, jaxpaged or vLLM: `python -m benchmarks.children.paged`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.children.protocol import Tasks, run_child
from benchmarks.workloads import Job, alike, behind_a_prefix, mixed


class Paged:
    """An LLM in this process, and the workloads that both engines know."""

    def __init__(self, engine: str, llm: Any, last: int) -> None:
        self.llm, self.last = llm, last
        self.parameters = importlib.import_module(f"{engine}.sampling_params")
        self.ask(alike(2, 40, 8, 0, last))  # what is done once is done

    def tasks(self) -> Tasks:
        return {
            "offline": self.offline,
            "samples": self.samples,
            "beams": self.beams,
            "prefix": self.prefix,
            "greedy": self.greedy,
        }

    def offline(self, requests: int, scale: float, seed: int) -> dict[str, float]:
        jobs = mixed(requests, seed, self.last, scale)
        return self.timed(lambda: self.ask(jobs), sum(job.answer for job in jobs))

    def samples(self, prompts: int, n: int, prompt: int, answer: int, seed: int) -> dict[str, float]:
        """n samples of each prompt at temperature 1."""
        jobs = alike(prompts, prompt, answer, seed, self.last)
        return self.timed(lambda: self.ask(jobs, n=n, temperature=1.0, seed=seed), prompts * n * answer)

    def beams(self, prompts: int, width: int, prompt: int, answer: int, seed: int) -> dict[str, float]:
        """Beam search; all beams of the answers count."""
        jobs = alike(prompts, prompt, answer, seed, self.last)
        params = self.parameters.BeamSearchParams(beam_width=width, max_tokens=answer, ignore_eos=True)
        asked = [{"prompt_token_ids": job.prompt} for job in jobs]
        return self.timed(lambda: self.llm.beam_search(asked, params), prompts * width * answer)

    def prefix(self, requests: int, prefix: int, answer: int, seed: int) -> dict[str, float]:
        """Prompts behind a common prefix that an earlier request has left in the cache."""
        head, jobs = behind_a_prefix(requests, prefix, answer, seed, self.last)
        self.ask([Job(head + [self.last - 1] * 20, 1)])
        return self.timed(lambda: self.ask(jobs), requests * answer)

    def greedy(self, requests: int, prompt: int, answer: int, seed: int) -> dict[str, Any]:
        """The tokens, computed together and once more one by one."""
        jobs = alike(requests, prompt, answer, seed, self.last)
        alone = [tokens for job in jobs for tokens in self.ask([job])]
        return {"tokens": self.ask(jobs), "alone": alone}

    def ask(self, jobs: Sequence[Job], **fields: Any) -> list[list[int]]:
        """The tokens of all samples. Raises RuntimeError where one has another length than asked for."""
        settings = {"temperature": 0.0, "ignore_eos": True} | fields
        params = [self.parameters.SamplingParams(max_tokens=job.answer, **settings) for job in jobs]
        asked = [{"prompt_token_ids": job.prompt} for job in jobs]
        outputs = self.llm.generate(asked, params, use_tqdm=False)
        tokens = [[list(sample.token_ids) for sample in output.outputs] for output in outputs]
        for job, samples in zip(jobs, tokens, strict=True):
            if {len(sample) for sample in samples} != {job.answer} or len(samples) != settings.get("n", 1):
                raise RuntimeError(f"{job.answer} tokens were asked for, {list(map(len, samples))} came")
        return [sample for samples in tokens for sample in samples]

    @staticmethod
    def timed(work: Any, tokens: int) -> dict[str, float]:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        return {"tok_per_s": tokens / seconds, "seconds": seconds}


def start(engine: str, model: str | None, last: int, settings: dict[str, Any]) -> tuple[dict[str, Any], Tasks]:
    """`settings`: LLM's arguments."""
    began = time.perf_counter()
    library = importlib.import_module(engine)
    llm = library.LLM(model=model, **settings)
    load = time.perf_counter() - began
    return {"load_s": load}, Paged(engine, llm, last).tasks()


if __name__ == "__main__":
    run_child(start)
