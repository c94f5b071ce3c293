"""Plain and moderate structured requests, alone or beside hostile clients."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from soaking.attacks import attack_all
from soaking.client import Outcome, ask
from soaking.load import MODEL_QUESTIONS

PLAIN = 4.0  # plain requests a second
CANARY = 2.0  # structured requests of moderate size a second
ATTACKERS_NICENESS = 15  # what they compute, other machines would compute elsewhere


@dataclass
class Seen:
    """What plain and moderate structured requests met: seconds of those that were answered, errors of the others."""

    plain: list[float] = field(default_factory=list)
    structured: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    attacks: int = 0


async def observe(port: int, seconds: float, seed: int, *, hostile: bool) -> Seen:
    """Ask plain and structured questions at their own times, with or without hostile clients beside them."""
    seen, until, rng = Seen(), time.monotonic() + seconds, random.Random(seed)
    with ProcessPoolExecutor(1, get_context("spawn"), os.nice, (ATTACKERS_NICENESS,)) as beside:
        attacks = beside.submit(attack_all, port, seconds, seed) if hostile else None
        asked = await asyncio.gather(
            every(1 / PLAIN, until, lambda: plain(port, rng, seen)),
            every(1 / CANARY, until, lambda: canary(port, rng, seen)),
        )
        await asyncio.gather(*(task for tasks in asked for task in tasks))
        seen.attacks = await asyncio.wrap_future(attacks) if attacks else 0
    return seen


async def every(pause: float, until: float, send: Callable[[], Awaitable[None]]) -> list[asyncio.Future[None]]:
    tasks = []
    while time.monotonic() < until:
        tasks.append(asyncio.ensure_future(send()))
        await asyncio.sleep(pause)
    return tasks


async def plain(port: int, rng: random.Random, seen: Seen) -> None:
    body = {"prompt": rng.choice(MODEL_QUESTIONS), "max_tokens": 16, "temperature": 0}
    note(await ask(port, body), seen.plain, seen)


async def canary(port: int, rng: random.Random, seen: Seen) -> None:
    names = [f"field_{rng.randrange(10**6)}" for _ in range(20)]
    schema = {"type": "object", "properties": {name: {"type": "boolean"} for name in names}, "required": names}
    body = {"prompt": "Answer: ", "max_tokens": 8, "temperature": 0, "structured_outputs": {"json": schema}}
    note(await ask(port, body), seen.structured, seen)


def note(outcome: Outcome, seconds: list[float], seen: Seen) -> None:
    if outcome.status == 200:
        seconds.append(outcome.seconds)
    else:
        seen.refused.append(f"{outcome.status} {outcome.error}"[:120])
