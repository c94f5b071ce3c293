"""Hostile clients beside plain ones: the worst grammars, nested tools, endless prompts, and clients that go away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from soaking.client import Leave, Outcome, ask
from soaking.load import MODEL_QUESTIONS

CLIENTS = 8
PLAIN = 4.0  # plain requests a second
CANARY = 2.0  # structured requests of moderate size a second
CHAT = "/v1/chat/completions"


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
    attackers = [
        asyncio.create_task(attack(port, until, seed + index, seen)) for index in range(CLIENTS if hostile else 0)
    ]
    asked = await asyncio.gather(
        every(1 / PLAIN, until, lambda: plain(port, rng, seen)),
        every(1 / CANARY, until, lambda: canary(port, rng, seen)),
    )
    await asyncio.gather(*attackers, *(task for tasks in asked for task in tasks))
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


async def attack(port: int, until: float, seed: int, seen: Seen) -> None:
    """One hostile client, which waits for its answers or goes away."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        path, body = rng.choice(ATTACKS)(rng)
        leave = Leave(0, rng.random() < 0.5, rng.random()) if rng.random() < 0.3 else None
        await ask(port, body, leave, path)
        seen.attacks += 1


def large_schema(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """8,000 properties, half of them optional."""
    names = [f"{rng.randrange(10**6)}.{index}" for index in range(8000)]
    parts = [{"type": "object", "properties": {name: {} for name in names[start::20]}} for start in range(20)]
    return "/v1/completions", _structured({"json": {"type": "array", "prefixItems": parts, "minItems": 20}})


def dear_expression(rng: random.Random) -> tuple[str, dict[str, Any]]:
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return "/v1/completions", _structured(
        {"regex": f"(((({letter}{{10}}){{10}}){{10}}){{10}}){{{rng.randrange(2, 12)}}}"}
    )


def many_choices(rng: random.Random) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", _structured({"choice": [f"{rng.random()}" for _ in range(9000)]})


def bad_gbnf(rng: random.Random) -> tuple[str, dict[str, Any]]:
    rules = "\n".join(f'r{index} ::= r{index + 1} | "{rng.random()}"' for index in range(3000))
    return "/v1/completions", _structured({"grammar": f'root ::= r0\n{rules}\nr3000 ::= "x"'})


def nested_tools(rng: random.Random) -> tuple[str, dict[str, Any]]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(rng.choice((20, 60, 150))):
        schema = {"type": "object", "properties": {"a": schema, "b": {"enum": [rng.random()]}}}
    tools = [{"type": "function", "function": {"name": f"f{index}", "parameters": schema}} for index in range(10)]
    message = {"role": "user", "content": "hello"}
    return CHAT, {"messages": [message], "tools": tools, "tool_choice": "required", "max_tokens": 50, "stream": True}


def endless_prompt(rng: random.Random) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {"prompt": "all work and no play " * rng.choice((70, 5000, 20000)), "max_tokens": 20}


def _structured(outputs: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": "Answer: ", "max_tokens": 50, "stream": True, "structured_outputs": outputs}


ATTACKS = (large_schema, dear_expression, many_choices, bad_gbnf, nested_tools, endless_prompt)
