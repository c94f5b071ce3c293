"""The workloads in token ids: lengths are the same for every engine and round, tokens are others in each round.

Standard library only: peers' Pythons import it too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST = 10  # ids below are special


@dataclass(frozen=True)
class Job:
    """A prompt in token ids, and how many tokens are to be generated."""

    prompt: list[int]
    answer: int


def mixed(requests: int, seed: int, last: int, scale: float = 1.0) -> list[Job]:
    """32 to 256 tokens in, 16 to 128 out, evenly drawn; `scale` shortens both. `last`: ids are below it."""
    lengths, tokens = random.Random(0), random.Random(f"mixed {seed}")
    jobs = []
    for _ in range(requests):
        prompt, answer = lengths.randint(32, 256), lengths.randint(16, 128)
        jobs.append(Job(ids(tokens, _scaled(prompt, scale), last), _scaled(answer, scale)))
    return jobs


def alike(requests: int, prompt: int, answer: int, seed: int, last: int) -> list[Job]:
    """All of one length."""
    tokens = random.Random(f"alike {seed} {prompt}")
    return [Job(ids(tokens, prompt, last), answer) for _ in range(requests)]


def behind_a_prefix(requests: int, prefix: int, answer: int, seed: int, last: int) -> tuple[list[int], list[Job]]:
    """The prefix that the prompts share, and the jobs: 20 tokens of its own behind it in each prompt."""
    tokens = random.Random(f"prefix {seed}")
    head = ids(tokens, prefix, last)
    return head, [Job(head + ids(tokens, 20, last), answer) for _ in range(requests)]


def ids(tokens: random.Random, count: int, last: int) -> list[int]:
    return [tokens.randrange(FIRST, last) for _ in range(count)]


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))
