"""All figures of one reproduction, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from paper.beams import replay_beams
from paper.parents import WIDTHS
from paper.published import POLICIES
from paper.replay import Capacity, replay_full, replay_prefix, replay_samples
from paper.reservation import fill_reserving
from paper.workload import ALPACA, SHAREGPT, TRANSLATION, WORKLOADS, Workload

SAMPLES = (2, 4, 6)
PAGES = (8, 16, 32, 64, 128)
PREFIXES = (80, 341)
SIGMAS = (0.6, 0.8, 1.0, 1.2)
WAITING = {ALPACA.name: 3000, SHAREGPT.name: 600, TRANSLATION.name: 3000}  # requests in the queue to fill memory from


@dataclass(frozen=True)
class Prefix:
    """What sharing a prefix saves, and the requests held at once: by Orca's oracle, paged, and paged and shared."""

    saving: float
    reserving: float
    paged: float
    shared: float


@dataclass(frozen=True)
class Spread:
    """ShareGPT-like figures at another sigma: saving by n = 2 and 6, by beam 2, waste at page 32, requests at once."""

    parallel_2: float
    parallel_6: float
    beam_2: float
    waste: float
    oracle: float
    paged: float


@dataclass(frozen=True)
class Figures:
    """saving[method, workload][n]; most[workload][width], what beams could save at best.

    waste[workload][page size]; capacity[workload][policy or "paged"].
    """

    requests: int
    saving: dict[tuple[str, str], dict[int, float]]
    most: dict[str, dict[int, float]]
    waste: dict[str, dict[int, float]]
    capacity: dict[str, dict[str, Capacity]]
    prefix: dict[int, Prefix]
    spread: dict[float, Spread]


def measure(requests: int, queue: float = 1.0, say: Callable[[str], None] = print) -> Figures:
    """Replay everything with this many requests a run; memory is filled from `queue` times the usual ones."""
    waiting = {name: int(queue * count) for name, count in WAITING.items()}
    saving: dict[tuple[str, str], dict[int, float]] = {}
    most: dict[str, dict[int, float]] = {}
    waste, capacity = {}, {}
    for workload in WORKLOADS:
        name = workload.name
        say(f"{name}: waste by page size, reservation")
        waste[name] = {page: replay_samples(workload, 1, requests, page).waste for page in PAGES}
        capacity[name] = fill(workload, waiting[name])
        say(f"{name}: parallel sampling")
        saving["parallel", name] = {n: replay_samples(workload, n, requests).saving for n in SAMPLES}
        say(f"{name}: beam search")
        saving["beam", name] = {width: replay_beams(workload, width, requests).saving for width in WIDTHS}
        most[name] = {width: most_saved(workload, width, requests) for width in WIDTHS}
    say("shared prefixes, other spreads of lengths")
    prefix = {tokens: share(tokens, requests, waiting[TRANSLATION.name]) for tokens in PREFIXES}
    spreads = {sigma: spread(sigma, requests, waiting[SHAREGPT.name]) for sigma in SIGMAS}
    return Figures(requests, saving, most, waste, capacity, prefix, spreads)


def fill(workload: Workload, waiting: int) -> dict[str, Capacity]:
    found = {policy: fill_reserving(policy, workload, waiting) for policy in POLICIES}
    return found | {"paged": replay_full(workload, waiting)}


def most_saved(workload: Workload, width: int, requests: int) -> float:
    """What is saved when all beams continue the same beam at every step; none can share the page that it writes to."""
    return replay_beams(workload, width, requests, np.zeros((1, 2, width), np.uint8)).saving


def share(tokens: int, requests: int, waiting: int) -> Prefix:
    return Prefix(
        saving=replay_prefix(TRANSLATION, tokens, requests).saving,
        reserving=fill_reserving("Oracle", TRANSLATION, waiting, tokens).requests,
        paged=replay_full(TRANSLATION, waiting, tokens, shared=False).requests,
        shared=replay_full(TRANSLATION, waiting, tokens).requests,
    )


def spread(sigma: float, requests: int, waiting: int) -> Spread:
    workload = replace(SHAREGPT, sigma=sigma)
    return Spread(
        parallel_2=replay_samples(workload, 2, requests).saving,
        parallel_6=replay_samples(workload, 6, requests).saving,
        beam_2=replay_beams(workload, 2, requests).saving,
        waste=replay_samples(workload, 1, requests, 32).waste,
        oracle=fill_reserving("Oracle", workload, waiting).requests,
        paged=replay_full(workload, waiting).requests,
    )
