"""Workloads through an engine in this process: time per output token and throughput, from the engine's own records."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpu.engine_plan import Workload
from jaxpaged import LLM, SamplingParams

SIGMA = 0.8  # of lognormal lengths


def time_per_token(llm: LLM, workload: Workload, seed: int) -> dict[str, Any]:
    """Milliseconds between steps in which every request of the workload decodes, and nothing else happens."""
    outputs = _generate(llm, random_prompts(llm, [workload.prompt] * workload.requests, seed), workload.answer)
    steps = [record for record in llm.engine.records.records if record.sequences == workload.requests]
    whole = [
        1e3 * (after.submitted - before.submitted)
        for before, after in pairwise(steps)
        if before.tokens == after.tokens == workload.requests and after.step == before.step + 1
    ][-(workload.answer - 4) :]
    first = max(output.metrics.first_token_latency for output in outputs)
    return {
        "requests": workload.requests,
        "prompt": workload.prompt,
        "answer": workload.answer,
        "median_ms": statistics.median(whole),
        "mean_ms": statistics.fmean(whole),
        "p99_ms": float(np.percentile(whole, 99)),
        "steps": len(whole),
        "slowest_first_token_ms": 1e3 * first,
    }


def throughput(llm: LLM, workload: Workload, seed: int, *, ragged: bool = False) -> dict[str, Any]:
    """Output tokens a second from the first request to the last answer. `ragged`: lognormal lengths of these means."""
    rng = np.random.default_rng(seed)
    prompts, answers = ([n] * workload.requests for n in (workload.prompt, workload.answer))
    if ragged:
        most = llm.engine.info.max_model_len // 2 - 1
        prompts, answers = (_lengths(rng, mean, workload.requests, most) for mean in (workload.prompt, workload.answer))
    llm.reset_prefix_cache()
    given = random_prompts(llm, prompts, seed)
    preempted = llm.engine.stats().num_preemptions
    began = time.perf_counter()
    outputs = _generate(llm, given, answers)
    seconds = time.perf_counter() - began
    generated = sum(len(output.outputs[0].token_ids) for output in outputs)
    return {
        "requests": workload.requests,
        "mean_prompt": statistics.fmean(prompts),
        "mean_answer": generated / workload.requests,
        "seconds": seconds,
        "output_tokens_per_s": generated / seconds,
        "preemptions": llm.engine.stats().num_preemptions - preempted,
    }


def random_prompts(llm: LLM, lengths: Sequence[int], seed: int) -> list[dict[str, list[int]]]:
    rng = np.random.default_rng(seed)
    vocabulary = llm.engine.info.vocab_size
    return [{"prompt_token_ids": rng.integers(0, vocabulary, length).tolist()} for length in lengths]


def _lengths(rng: np.random.Generator, mean: int, count: int, most: int) -> list[int]:
    drawn = rng.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA, count)
    return np.clip(np.rint(drawn * mean / drawn.mean()), 1, most).astype(int).tolist()


def _generate(llm: LLM, prompts: list[dict[str, list[int]]], answers: int | Sequence[int]) -> list[Any]:
    """Sampled at temperature 1, never stopped early. Raises RuntimeError if a request fails."""
    answers = [answers] * len(prompts) if isinstance(answers, int) else answers
    params = [SamplingParams(temperature=1.0, max_tokens=n, ignore_eos=True, detokenize=False) for n in answers]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    if wrong := [output for output in outputs if output.outputs[0].finish_reason != "length"]:
        raise RuntimeError(f"{len(wrong)} requests failed; the first: {wrong[0]}")
    return outputs
