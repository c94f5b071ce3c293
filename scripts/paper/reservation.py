"""How engines before paging kept keys and values: one contiguous piece a request, reserved at its start.

As the paper simulated Orca (its section 6.1): a buddy allocator places the pieces; `Max` reserves the longest sequence
that the model allows, `Pow2` the prompt and the answer's length rounded up to a power of two, `Oracle` knows it.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from paper.published import KV_SLOTS, MAX_MODEL_LEN
from paper.replay import Capacity
from paper.workload import Workload


class Buddies:
    """Free pieces of memory, each of a power of two of slots, by size. Pieces are (size, first slot)."""

    def __init__(self, slots: int) -> None:
        self._free: dict[int, set[int]] = defaultdict(set)
        start = 0
        for bit in reversed(range(slots.bit_length())):
            if slots & (1 << bit):
                self._free[1 << bit].add(start)
                start += 1 << bit

    def allocate(self, slots: int) -> tuple[int, int] | None:
        """The smallest piece that holds `slots`, split off a larger one where need be; None when there is none."""
        wanted = power_of_two(slots)
        sizes = [size for size, starts in self._free.items() if starts and size >= wanted]
        if not sizes:
            return None
        size = min(sizes)
        start = self._free[size].pop()
        while size > wanted:
            size //= 2
            self._free[size].add(start + size)
        return wanted, start

    def release(self, piece: tuple[int, int]) -> None:
        """Give a piece back and join it with its free buddies."""
        size, start = piece
        while start ^ size in self._free[size]:
            self._free[size].remove(start ^ size)
            start &= ~size
            size *= 2
        self._free[size].add(start)


def power_of_two(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (count - 1).bit_length()


def reserved(policy: str, prompt: int, answer: int) -> int:
    """Slots that a policy asks for."""
    if policy == "Max":
        return MAX_MODEL_LEN
    if policy == "Pow2":
        return min(prompt + power_of_two(answer), MAX_MODEL_LEN)
    return prompt + answer


def fill_reserving(policy: str, workload: Workload, count: int, prefix: int = 0) -> Capacity:
    """As many requests as the paper's memory holds, first come first served, counted like replay_full()."""
    prompts, answers = workload.lengths(count)
    buddies = Buddies(KV_SLOTS)
    running: list[tuple[int, int, int, tuple[int, int]]] = []  # prompt, step of the start, of the end, piece
    requests: list[int] = []
    live: list[int] = []
    now = admitted = 0
    while admitted < count:
        for *_, end, held in running:
            if end == now:
                buddies.release(held)
        running = [each for each in running if each[2] > now]
        while admitted < count:
            prompt, answer = int(prompts[admitted]) + prefix, int(answers[admitted])
            piece = buddies.allocate(reserved(policy, prompt, answer))
            if piece is None:
                break
            running.append((prompt, now, now + answer, piece))
            admitted += 1
        requests.append(len(running))
        live.append(sum([prompt + now - start for prompt, start, *_ in running]))
        now += 1
    warm = workload.warm_up
    return Capacity(float(np.mean(requests[warm:])), float(np.mean(live[warm:])) / KV_SLOTS)
