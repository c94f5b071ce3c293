"""Where every byte of a device goes, how many KV pages that leaves, and how long a context they hold.

The compiler reports what a program needs beside its arguments, so nothing is guessed; a named reserve covers what it
cannot see. Page counts come from a coarse ladder, so the same machine and flags always give the same shapes and hit the
compile cache.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jaxpaged.config import CacheConfig, SchedulerLimits
from jaxpaged.decoder.parameters import ParamInfo
from jaxpaged.errors import MemoryPlanError
from jaxpaged.kv.pool import PoolGeometry
from jaxpaged.kv.spec import page_policies
from jaxpaged.sharding.mesh import MODEL
from jaxpaged.sharding.rules import sharding_of

GIB = 1 << 30
CPU_KV_BYTES = 2 * GIB
ACCELERATOR_RESERVE = GIB  # command buffers, collectives' scratch, autotuning
CONTEXT_HEADROOM = 8 / 7  # of a context that was shortened to fit, for what is not known yet
LEAST_CONTEXT = 256  # tokens: less is of no use, and the error that says what is missing helps more


@dataclass(frozen=True, slots=True)
class GroupDemand:
    """One cache group's page on one device: bytes, pages one full-length request holds, most pages ever useful."""

    page_bytes: int
    pages_per_request: int
    most_pages: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Pages per cache group (page 0 of each is the null page) and the bytes on one device."""

    num_pages: tuple[int, ...]
    capacity: int
    weights: int
    state: int
    temporaries: int
    reserve: int
    kv: int

    def table(self, page_size: int, pages_per_request: Sequence[int]) -> str:
        """The start-up table: bytes by purpose, tokens and full-length requests that fit."""
        free = self.capacity - self.weights - self.state - self.temporaries - self.reserve - self.kv
        rows = [
            ("weights", self.weights),
            ("rows, logits", self.state),
            ("temporaries", self.temporaries),
            ("reserve", self.reserve),
            ("KV pages", self.kv),
            ("left free", free),
            ("device memory", self.capacity),
        ]
        lines = [f"  {name:<14}{_readable(size):>12}" for name, size in rows]
        tokens = (self.num_pages[0] - 1) * page_size
        full = min((n - 1) / p for n, p in zip(self.num_pages, pages_per_request, strict=True))
        return "\n".join(
            [*lines, f"  room for {tokens:,} tokens: {full:.1f} full-length requests at once per data shard"]
        )


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What programs need on one device beside weights and pages, in bytes; zero while it is not known."""

    state: int = 0
    temporaries: int = 0


@dataclass(frozen=True, slots=True)
class MemoryPlanner:
    """Shares out one device's memory for any context, in tokens. `weights` in bytes of one device."""

    cache: CacheConfig
    limits: SchedulerLimits
    pool: PoolGeometry
    weights: int

    def plan(self, context: int, use: MemoryUse) -> MemoryPlan:
        """Page counts for the memory that is left. Raises MemoryPlanError when one request would not fit."""
        devices = self.pool.mesh.local_devices
        return plan_memory(
            self.cache,
            self.demands(context),
            platform=devices[0].platform,
            capacity=device_capacity(devices[0]),
            weights=self.weights,
            state=use.state,
            temporaries=use.temporaries,
            devices_per_host=len(devices),
        )

    def longest_context(self, below: int, use: MemoryUse) -> int | None:
        """The longest context below a length that does not fit, with headroom; None where hardly any is left."""
        return longest_that_fits(
            lambda tokens: self._holds(int(tokens * CONTEXT_HEADROOM), use), below, self.pool.page_size
        )

    def demands(self, context: int) -> tuple[GroupDemand, ...]:
        """What each cache group asks for."""
        made = []
        for index, policy in enumerate(page_policies(self.pool.groups, self.pool.page_size)):
            needed = policy.most_pages(context, self.limits.max_num_batched_tokens)
            made.append(GroupDemand(self.pool.page_bytes(index), needed, self.limits.max_num_seqs * needed + 1))
        return tuple(made)

    def table(self, plan: MemoryPlan, context: int) -> str:
        """The start-up table of a plan."""
        made = plan.table(self.pool.page_size, [demand.pages_per_request for demand in self.demands(context)])
        return "\n".join([made, *self._token_lines()])

    def _token_lines(self) -> list[str]:
        """What a token takes of the pages that are kept to the end, and what tensor parallelism repeats of it."""
        pool = self.pool
        kept = [index for index, group in enumerate(pool.groups) if group.kind.keeps_all]
        size = sum(pool.page_bytes(index) for index in kept) // pool.page_size
        whole = sum(pool.page_bytes(index) for index in kept if not pool.is_split(index)) // pool.page_size
        devices = pool.mesh.shape[MODEL]
        repeated = f", {_readable(whole)} of that the same on all {devices} (latent rows have no heads to split)"
        line = f"  a token takes {_readable(size)} of KV pages on a device"
        return [line + (repeated if whole and devices > 1 else "")] if kept else []

    def _holds(self, context: int, use: MemoryUse) -> bool:
        try:
            self.plan(context, use)
        except MemoryPlanError:
            return False
        return True


def longest_that_fits(fits: Callable[[int], bool], below: int, step: int) -> int | None:
    """The largest multiple of `step` below `below` tokens for which `fits` holds; None if LEAST_CONTEXT does not.

    What fits must stay so when it gets shorter.
    """
    least = -(-min(LEAST_CONTEXT, below) // step)
    sizes = range(least, -(-below // step))
    count = bisect_left(sizes, True, key=lambda size: not fits(size * step))
    return sizes[count - 1] * step if count else None


def weight_bytes(params: Sequence[ParamInfo], mesh: Mesh) -> int:
    """Bytes of a decoder's leaves on one device."""
    shardings = [sharding_of(mesh, info.axes) for info in params]
    return sum(
        math.prod(sharding.shard_shape(info.shape)) * info.dtype.itemsize
        for info, sharding in zip(params, shardings, strict=True)
    )


def device_capacity(device: jax.Device) -> int:
    """Bytes of memory of one device; for a CPU, of the machine."""
    if device.platform == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(device.memory_stats()["bytes_limit"])


def coarse(pages: int) -> int:
    """Round down to six significant bits: steps of about 3 %."""
    shift = max(0, pages.bit_length() - 6)
    return pages >> shift << shift


def plan_memory(
    config: CacheConfig,
    groups: Sequence[GroupDemand],
    *,
    platform: str,
    capacity: int,
    weights: int,
    state: int,
    temporaries: int,
    devices_per_host: int = 1,
) -> MemoryPlan:
    """Choose the page counts of one device. All sizes in bytes of one device.

    Raises MemoryPlanError, with the numbers and the mend, when one full-length request would not fit.
    """
    reserve = 0 if platform == "cpu" else ACCELERATOR_RESERVE
    if platform == "cpu":
        capacity //= devices_per_host
    room = int(capacity * config.gpu_memory_utilization) - weights - state - temporaries - reserve
    budget = _budget(config, room, platform, devices_per_host)
    if config.num_gpu_blocks_override is not None:
        pages = tuple(config.num_gpu_blocks_override for _ in groups)
    else:
        pages = _share(budget, groups)
    for group, count in zip(groups, pages, strict=True):
        if count - 1 < group.pages_per_request:
            raise MemoryPlanError(_too_small(groups, budget, config))
    kv = sum(count * group.page_bytes for count, group in zip(pages, groups, strict=True))
    if kv > (most := capacity - weights - state - temporaries - reserve):
        raise MemoryPlanError(_too_large(kv, most, config))
    return MemoryPlan(pages, capacity, weights, state, temporaries, reserve, kv)


def _budget(config: CacheConfig, room: int, platform: str, devices: int) -> int:
    if config.kv_cache_memory_bytes is not None:
        return config.kv_cache_memory_bytes // devices if platform == "cpu" else config.kv_cache_memory_bytes
    return min(room, CPU_KV_BYTES // devices) if platform == "cpu" else room


def _share(budget: int, groups: Sequence[GroupDemand]) -> tuple[int, ...]:
    """The same page count for every group, except groups that can never use so many."""
    open_groups, pages = list(range(len(groups))), [0] * len(groups)
    while open_groups:
        level = max(0, budget) // sum(groups[index].page_bytes for index in open_groups)
        full = [index for index in open_groups if groups[index].most_pages <= level]
        for index in full or open_groups:
            pages[index] = groups[index].most_pages if full else coarse(level)
            budget -= pages[index] * groups[index].page_bytes
            open_groups.remove(index) if full else None
        if not full:
            break
    return tuple(pages)


def _too_small(groups: Sequence[GroupDemand], budget: int, config: CacheConfig) -> str:
    needed = sum((group.pages_per_request + 1) * group.page_bytes for group in groups)
    if config.num_gpu_blocks_override is not None:
        most = max(group.pages_per_request for group in groups) + 1
        return (
            f"num_gpu_blocks_override={config.num_gpu_blocks_override} cannot hold one full-length request "
            f"({most} pages). Raise it or lower max_model_len."
        )
    share = max(0.0, budget / needed)
    mend = "gpu_memory_utilization" if config.kv_cache_memory_bytes is None else "kv_cache_memory_bytes"
    lower = (
        f"Lower max_model_len to about {share:.0%} of its value, raise {mend}," if share >= 0.01 else f"Raise {mend}"
    )
    return (
        f"one full-length request needs {_readable(needed)} of KV pages but {_readable(max(0, budget))} are left for "
        f"them. {lower} or use more devices."
    )


def _too_large(kv: int, most: int, config: CacheConfig) -> str:
    """Only a user's own number can ask for more than there is."""
    by_pages = config.num_gpu_blocks_override is not None
    name = "num_gpu_blocks_override" if by_pages else "kv_cache_memory_bytes"
    return (
        f"{name}={config.num_gpu_blocks_override if by_pages else config.kv_cache_memory_bytes} asks for "
        f"{_readable(kv)} of KV pages, but one device has {_readable(max(0, most))} beside the weights; lower it, or "
        "leave it out to take what is there."
    )


def _readable(size: int) -> str:
    """Bytes in the largest unit that leaves at least one of it."""
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"
