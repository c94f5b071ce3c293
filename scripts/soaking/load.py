"""An open loop: requests come at their own times, whether or not earlier ones have been answered."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from soaking.client import Leave, Outcome, ask

MODEL_QUESTIONS = [f"<|user|>Add {a} and {3 * a + 1}.<|end|><|assistant|>" for a in range(10, 26)]


@dataclass(frozen=True)
class Load:
    """What to send: `requests` at about `rate` a second, `leaving` of them by clients that go away on the way.

    `bad` of them are refused (a temperature of 3). All else is greedy, so that texts can be compared.
    """

    requests: int
    leaving: int = 0
    bad: int = 0
    rate: float = 200.0
    max_tokens: int = 12
    seed: int = 0
    prompts: tuple[str, ...] = tuple(MODEL_QUESTIONS)


@dataclass
class Tally:
    """What came back."""

    answered: int = 0
    refused: int = 0
    left: int = 0
    wrong: list[str] = field(default_factory=list)  # texts that differ from the reference, and what else must not be
    other: Counter[str] = field(default_factory=Counter)


async def references(port: int, load: Load) -> dict[str, str]:
    """Each prompt's answer, asked alone."""
    found = {}
    for prompt in load.prompts:
        outcome = await ask(port, body(prompt, load))
        if not outcome.done or outcome.status != 200:
            raise RuntimeError(f"the server does not answer: {outcome}")
        found[prompt] = outcome.text
    return found


async def run_load(port: int, load: Load, expected: dict[str, str]) -> Tally:
    """Send it all, wait for all of it, and compare."""
    rng = random.Random(load.seed)
    kinds = ["leave"] * load.leaving + ["bad"] * load.bad
    kinds += ["plain"] * (load.requests - len(kinds))
    rng.shuffle(kinds)
    tally, tasks = Tally(), []
    for kind in kinds:
        await asyncio.sleep(rng.expovariate(load.rate))
        tasks.append(asyncio.create_task(_one(port, kind, rng.choice(load.prompts), load, random.Random(rng.random()))))
    for kind, prompt, outcome in await asyncio.gather(*tasks):
        count(tally, kind, outcome, expected[prompt])
    return tally


async def _one(port: int, kind: str, prompt: str, load: Load, rng: random.Random) -> tuple[str, str, Outcome]:
    asked = {**body(prompt, load), "stream": rng.random() < 0.7}
    leave = None
    if kind == "bad":
        asked["temperature"] = 3
    if kind == "leave":  # for long answers with a text for each token, so that there is something to stop
        asked |= {"max_tokens": 1000, "ignore_eos": True, "skip_special_tokens": False}
        leave = Leave(rng.choice((0, 0, 1, 5, 20)) if asked["stream"] else 0, rng.random() < 0.5, rng.random() / 10)
    return kind, prompt, await ask(port, asked, leave)


def body(prompt: str, load: Load) -> dict[str, Any]:
    return {"prompt": prompt, "max_tokens": load.max_tokens, "temperature": 0}


def count(tally: Tally, kind: str, outcome: Outcome, expected: str) -> None:
    if outcome.left:
        tally.left += 1
    elif kind == "bad" and outcome.status == 400:
        tally.refused += 1
    elif kind == "plain" and outcome.status == 200 and outcome.done:
        tally.answered += 1
        if outcome.text != expected:
            tally.wrong.append(f"{outcome.text!r} instead of {expected!r}")
    else:
        tally.other[f"{kind}: {outcome.status} {outcome.error}"[:120]] += 1
