"""Streamed completions against a server: closed loop, each client asks its next request when one has ended."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import urlsplit

from benchmarks.errors import EngineFailed
from benchmarks.workloads import Job
from jaxpaged.cli.bench_serve import Stream, percentile, stream_completion


def measure(url: str, model: str, jobs: Sequence[Job], clients: int) -> dict[str, float]:
    """Output tokens a second; TTFT and ITL in milliseconds. Raises EngineFailed where a request was not answered."""
    began = time.perf_counter()
    streams = asyncio.run(_run(url, model, jobs, clients))
    seconds = time.perf_counter() - began
    for job, stream in zip(jobs, streams, strict=True):
        if stream.status != 200 or not stream.times or stream.tokens != job.answer:
            raise EngineFailed(
                f"{job.answer} tokens were asked for, {stream.tokens} came in {len(stream.times)} events with status "
                f"{stream.status}"
            )
    first = [1e3 * stream.times[0] for stream in streams]
    gaps = [1e3 * (later - earlier) for stream in streams for earlier, later in pairwise(stream.times)]
    return {
        "tok_per_s": sum(job.answer for job in jobs) / seconds,
        "ttft_ms_p50": statistics.median(first),
        "ttft_ms_p99": percentile(first, 99),
        "itl_ms_p50": percentile(gaps, 50),
        "itl_ms_p99": percentile(gaps, 99),
        "seconds": seconds,
    }


async def _run(url: str, model: str, jobs: Sequence[Job], clients: int) -> list[Stream]:
    left = list(enumerate(jobs))[::-1]
    done: dict[int, Stream] = {}

    async def client() -> None:
        while left:
            index, job = left.pop()
            body: dict[str, object] = {
                "model": model, "prompt": job.prompt, "max_tokens": job.answer, "temperature": 0, "ignore_eos": True,
                "stream": True, "stream_options": {"include_usage": True},
            }  # fmt: skip
            done[index] = await stream_completion(urlsplit(url), None, body)

    await asyncio.gather(*(client() for _ in range(clients)))
    return [done[index] for index in range(len(jobs))]
