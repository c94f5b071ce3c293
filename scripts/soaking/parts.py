"""The parts of a soak, each with the figures that it measures and their bounds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import linear_regression

from live_server import LiveServer, live_server
from soaking.client import Outcome, ask
from soaking.hostile import observe
from soaking.load import MODEL_QUESTIONS, Load, Tally, references, run_load

RESTART_BUDGET = 60.0  # seconds from a kill until requests are served again
ROUND = 500  # requests between two looks at the memory
STREAMS = 16


@dataclass(frozen=True)
class Figure:
    """One measured number and what was asked of it."""

    name: str
    value: float
    bound: str
    holds: bool


def exactly(name: str, value: float, wanted: float) -> Figure:
    return Figure(name, value, f"= {wanted:g}", value == wanted)


def below(name: str, value: float, most: float) -> Figure:
    return Figure(name, value, f"< {most:g}", value < most)


async def disconnects(scale: float, seed: int) -> list[Figure]:
    """Clients that leave at random points, among others that stay."""
    rounds, slowest, tallies = 10, 0.0, []
    per_round = max(1, round(20 * scale))
    with server() as running:
        load = Load(requests=4 * per_round, leaving=per_round, rate=64.0)
        expected = await references(running.port, load)
        for index in range(rounds):
            again = Load(requests=4 * per_round, leaving=per_round, rate=64.0, seed=seed + index)
            tallies.append(await run_load(running.port, again, expected))
            slowest = max(slowest, await seconds_until(running.is_idle))
    return [
        exactly("disconnects", sum(tally.left for tally in tallies), rounds * per_round),
        below("disconnects: seconds until every page is free, slowest", round(slowest, 3), 1.0),
        *common("disconnects", tallies, running),
    ]


async def memory(scale: float, seed: int) -> list[Figure]:
    """Short requests, some refused and some left; the slope of each process's memory after a warm-up of a quarter."""
    count = max(12, round(40 * scale))  # fewer are all warm-up
    sizes: list[dict[str, int]] = []
    tallies: list[Tally] = []
    with server() as running:
        load = Load(ROUND, max_tokens=8)
        expected = await references(running.port, load)
        for index in range(count):
            again = Load(requests=ROUND, leaving=10, bad=10, max_tokens=8, seed=seed + index)
            tallies.append(await run_load(running.port, again, expected))
            await seconds_until(running.is_idle)
            sizes.append(running.resident())
            shown = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sizes[-1].items())
            print(f"memory: after {(index + 1) * ROUND} requests: {shown}", flush=True)
        compiles = running.metric("jaxpaged:compiles_after_ready_total")
    after = sizes[count // 4 :]
    figures = [exactly("memory: requests", count * ROUND, count * ROUND)]
    for name in after[0]:
        slope = linear_regression([ROUND * i for i in range(len(after))], [size[name] for size in after]).slope
        figures.append(below(f"memory: bytes a request, {name}", round(slope, 1), 1024.0))
    return [*figures, exactly("memory: compiles after ready", compiles, 0), *common("memory", tallies, running)]


async def crashes(scale: float, seed: int) -> list[Figure]:
    """The engine killed at random points: every open stream ends with an error, and service comes back."""
    rng, kills = random.Random(seed), max(1, round(10 * scale))
    false_ends = unended = served = 0
    slowest = 0.0
    with server("--engine-restarts", str(kills)) as running:
        for _ in range(kills):
            asked = {"prompt": MODEL_QUESTIONS[0], "max_tokens": 1500, "ignore_eos": True, "stream": True}
            streams = [asyncio.create_task(ask(running.port, asked)) for _ in range(STREAMS)]
            await asyncio.sleep(0.1 + rng.random())
            pid = running.engine_pid()
            if pid is None:
                raise RuntimeError("there is no engine to kill")
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            ended = await asyncio.gather(*streams)
            false_ends += sum(outcome.done and outcome.status == 200 for outcome in ended)
            unended += sum(not outcome.error for outcome in ended)
            if await served_again(running.port, killed):
                served += 1
                slowest = max(slowest, time.monotonic() - killed)
    return [
        exactly("crashes: streams that ended as if they were whole", false_ends, 0),
        exactly("crashes: streams without an error", unended, 0),
        exactly("crashes: kills after which service came back", served, kills),
        below("crashes: seconds until it was back, slowest", round(slowest, 1), RESTART_BUDGET),
    ]


async def hostile(scale: float, seed: int) -> list[Figure]:
    """Eight hostile clients for a minute beside plain and moderate structured requests."""
    with server() as running:
        await observe(running.port, 5.0, seed, hostile=False)  # what begins with the first request has begun
        quiet = await observe(running.port, 60.0 * scale, seed, hostile=False)
        loud = await observe(running.port, 60.0 * scale, seed + 1, hostile=True)
    for refusal in sorted({*quiet.refused, *loud.refused}):
        print(f"hostile: refused: {refusal}")
    print("".join(line for line in running.errors if "Error" in line or "rror:" in line)[-2000:], end="")
    usual, worst = percentile(quiet.plain, 0.99), percentile(loud.plain, 0.99)
    print(f"hostile: {loud.attacks} attacks; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    for name, before, after in (("plain", quiet.plain, loud.plain), ("structured", quiet.structured, loud.structured)):
        print(
            f"hostile: p99 of {name} requests: {percentile(before, 0.99):.3f} s, then {percentile(after, 0.99):.3f} s"
        )
    return [
        below("hostile: p99 of plain requests, as a multiple of the quiet one", round(worst / usual, 2), 1.5),
        exactly("hostile: plain and moderate structured requests refused", len(quiet.refused) + len(loud.refused), 0),
        exactly("hostile: tracebacks in the log", sum("Traceback" in line for line in running.errors), 0),
    ]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


PARTS: dict[str, Callable[[float, int], Awaitable[list[Figure]]]] = {
    "disconnects": disconnects,
    "memory": memory,
    "crashes": crashes,
    "hostile": hostile,
}


def server(*flags: str) -> AbstractContextManager[LiveServer]:
    """The bundled model, with rows for 64."""
    return live_server("--max-num-seqs", "64", *flags)


async def seconds_until(condition: Callable[[], bool], most: float = 30.0) -> float:
    began = time.monotonic()
    while not condition() and time.monotonic() - began < most:
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def served_again(port: int, killed: float) -> bool:
    """Whether a request is answered before the budget is over."""
    while time.monotonic() - killed < RESTART_BUDGET:
        outcome: Outcome = await ask(port, {"prompt": MODEL_QUESTIONS[0], "max_tokens": 4})
        if outcome.status == 200:
            return True
        await asyncio.sleep(0.2)
    return False


def common(part: str, tallies: list[Tally], running: LiveServer) -> list[Figure]:
    """Wrong texts, unexpected answers and tracebacks, none of which may be."""
    for kind in sorted({kind for tally in tallies for kind in tally.other}):
        print(f"{part}: unexpected: {kind}")
    return [
        exactly(f"{part}: texts that differ from those of a request alone", sum(len(t.wrong) for t in tallies), 0),
        exactly(f"{part}: unexpected answers", sum(t.other.total() for t in tallies), 0),
        exactly(f"{part}: tracebacks in the log", sum("Traceback" in line for line in running.errors), 0),
    ]
