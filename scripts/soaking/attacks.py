"""Hostile clients: the worst grammars, nested tools, endless prompts, and clients that go away."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from soaking.client import Leave, ask

CLIENTS = 8
CHAT = "/v1/chat/completions"


def attack_all(port: int, seconds: float, seed: int) -> int:
    """Eight hostile clients for so long; how many requests they have sent."""

    async def all_clients() -> int:
        return sum(await asyncio.gather(*(attack(port, seconds, seed + index) for index in range(CLIENTS))))

    return asyncio.run(all_clients())


async def attack(port: int, seconds: float, seed: int) -> int:
    """One hostile client, which waits for its answers or goes away; how many requests it has sent."""
    rng, until, sent = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        path, body = rng.choice(ATTACKS)(rng)
        leave = Leave(0, rng.random() < 0.5, rng.random()) if rng.random() < 0.3 else None
        await ask(port, body, leave, path)
        sent += 1
    return sent


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
