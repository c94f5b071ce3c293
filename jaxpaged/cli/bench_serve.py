"""serve: time to first token, time between tokens and throughput of a running server."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from jaxpaged.arguments.values import integer, positive, rate
from jaxpaged.cli.http_stream import Endpoint
from jaxpaged.cli.workload import add_output, check_output, random_prompts, report
from jaxpaged.errors import RequestError


@dataclass(slots=True)
class Stream:
    """What one streamed answer was like; times in seconds since its request was sent."""

    times: list[float] = field(default_factory=list)
    tokens: int = 0
    status: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--base-url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    add("--api-key", metavar="KEY", help="the server's key")
    add("--model", metavar="NAME", help="the model to ask, if not the server's first")
    add("--num-prompts", type=positive, default=64, metavar="N", help="requests (default: %(default)s)")
    add(
        "--random-input-len",
        type=positive,
        default=128,
        metavar="TOKENS",
        help="tokens in a prompt (default: %(default)s)",
    )
    add(
        "--random-output-len",
        type=positive,
        default=64,
        metavar="TOKENS",
        help="tokens generated (default: %(default)s)",
    )
    add(
        "--vocab-size",
        type=positive,
        default=1000,
        metavar="N",
        help="prompt ids are below this (default: %(default)s)",
    )
    add("--request-rate", type=rate, default=0.0, metavar="R", help="Poisson arrivals per second; 0 or inf: at once "
        "(default: %(default)s)")  # fmt: skip
    add("--max-concurrency", type=positive, default=16, metavar="N", help="requests at a time (default: %(default)s)")
    add("--seed", type=integer, default=0, help="of prompts and arrivals (default: %(default)s)")
    add_output(parser)


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    check_output(args.output_json)
    served = Endpoint(f"{args.base_url}/v1", args.api_key).model()
    began = time.perf_counter()
    streams = asyncio.run(_run_all(args, args.model or served))
    seconds = time.perf_counter() - began
    good = [stream for stream in streams if stream.status == 200 and stream.times]
    if not good:
        raise RequestError(f"No request was answered; the first one's status was {streams[0].status}.")
    gaps = [later - earlier for stream in good for earlier, later in zip(stream.times, stream.times[1:], strict=False)]
    figures: dict[str, float] = {
        "seconds": seconds,
        "answered": len(good),
        "refused": len(streams) - len(good),
        "requests_per_second": len(good) / seconds,
        "output_tokens_per_second": sum(stream.tokens for stream in good) / seconds,
    }
    for name, values in (("ttft_ms", [stream.times[0] for stream in good]), ("itl_ms", gaps)):
        for percent in (50, 90, 99):
            figures[f"{name}_p{percent}"] = 1000 * percentile(values, percent)
    report(figures, args.output_json)
    return 0


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))] if ordered else 0.0


async def _run_all(args: argparse.Namespace, model: str) -> list[Stream]:
    prompts = random_prompts(args.num_prompts, args.random_input_len, args.vocab_size, args.seed)
    rng, gate, start = random.Random(args.seed), asyncio.Semaphore(args.max_concurrency), 0.0
    tasks = []
    for prompt in prompts:
        if args.request_rate > 0:
            start += rng.expovariate(args.request_rate)
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": args.random_output_len,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        tasks.append(asyncio.create_task(_one(urlsplit(args.base_url), args.api_key, body, start, gate)))
    return list(await asyncio.gather(*tasks))


async def _one(
    url: SplitResult, api_key: str | None, body: dict[str, object], start: float, gate: asyncio.Semaphore
) -> Stream:
    await asyncio.sleep(start)
    async with gate:
        return await stream_completion(url, api_key, body)


async def stream_completion(url: SplitResult, api_key: str | None, body: dict[str, object]) -> Stream:
    """Send one request and note when its events come. HTTP/1.0, so that the server frames nothing.

    The status is 0 where the connection breaks.
    """
    content = json.dumps(body).encode()
    lines = [
        f"POST {url.path.rstrip('/')}/v1/completions HTTP/1.0",
        f"Host: {url.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *([f"Authorization: Bearer {api_key}"] if api_key else []),
    ]
    tls = url.scheme == "https"
    stream = Stream()
    try:
        reader, writer = await asyncio.open_connection(url.hostname, url.port or (443 if tls else 80), ssl=tls or None)
    except OSError:
        return stream
    try:
        sent = time.perf_counter()
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        status = (await reader.readline()).split()
        stream.status = int(status[1]) if len(status) > 1 else 0
        async for line in reader:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if event.get("choices"):
                stream.times.append(time.perf_counter() - sent)
            if event.get("usage"):
                stream.tokens = event["usage"]["completion_tokens"]
    except OSError:
        stream.status = 0
    finally:
        writer.close()
    return stream
