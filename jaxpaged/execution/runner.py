"""Runs plans: the only holder of parameters, pools and device rows. It waits for the device only in `result()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpaged.execution.batch import BatchLayout, BatchLimits, pack
from jaxpaged.execution.buckets import Buckets, choose
from jaxpaged.execution.compiler import ProgramTable
from jaxpaged.execution.embeds import PromptEmbeds
from jaxpaged.execution.programs import COMMON_VARIANTS, HISTORY_TOKENS
from jaxpaged.execution.row_upload import SLOTS, AdmissionLayout
from jaxpaged.execution.step import DeviceRows, Leaves, LogitInput
from jaxpaged.kv.pool import KVPool
from jaxpaged.sampling.sampler import Sampled, Sampler
from jaxpaged.sampling.token_masks import num_words
from jaxpaged.sampling.variant import Variant
from jaxpaged.scheduling.plan import Admission, ShardPlan, StepPlan


@dataclass(slots=True)
class PendingStep:
    """A plan on its way through the device; `sampled` is None when no row was sampled."""

    plan: StepPlan
    sampled: Sampled | None

    def wait(self) -> Sampled | None:
        """Block until the device is done; the arrays come back as numpy."""
        return None if self.sampled is None else jax.tree.map(np.asarray, self.sampled)


class SleepingWeights(NamedTuple):
    """What wake_weights() needs: host copies of the leaves (None: dropped), and their shardings."""

    kept: tuple[np.ndarray, ...] | None
    shardings: tuple[Any, ...]


@dataclass(slots=True)
class Runner:
    """Device state and the compiled programs that change it."""

    programs: ProgramTable
    buckets: Buckets
    limits: BatchLimits
    admission: AdmissionLayout
    sampler: Sampler
    mesh: Mesh
    leaves: Leaves
    pool: KVPool
    rows: DeviceRows
    sampler_rows: Any
    logits: jax.Array
    updater: Callable[[Leaves, Mapping[str, Any]], Leaves]
    layouts: dict[int, BatchLayout] = field(init=False)
    embeds: PromptEmbeds = field(default_factory=PromptEmbeds)
    _weights: SleepingWeights | None = None
    _pages: tuple[int, ...] | None = None  # of the pool that sleep() freed, per cache group

    def __post_init__(self) -> None:
        holds = self.buckets.holds_decodes_only
        self.layouts = {size: BatchLayout(size, self.limits, holds(size)) for size in self.buckets.tokens}

    def submit(self, plan: StepPlan) -> PendingStep:
        """Dispatch a plan; returns at once. Programs run in the order of the calls."""
        self._admit(plan)
        self._copy_pages(plan)
        logit_rows = self._backbone(plan, self.layouts[backbone_size(self.buckets, plan)])
        wanted = max(_num_logit_rows(shard) for shard in plan.shards)
        return PendingStep(plan, self._head(plan, logit_rows, wanted) if wanted else None)

    def warm_up(self) -> None:
        """Run every program once, on padding alone: a first call prepares what no request should wait for."""
        logit_rows, order = None, ("backbone", "logits", "mask", "sample")
        first_calls = [item for kind in order for item in self.programs.compiled.items() if item[0][0] == kind]
        for key, program in first_calls:
            match key:
                case "backbone", int(size):
                    packed = self._put(np.zeros((self.mesh.shape["data"], self.layouts[size].size), np.int32))
                    arrays, self.rows, logit_rows = program(self.leaves, self.pool.arrays, self.rows, packed)
                    self.pool = self.pool.with_arrays(arrays)
                case "logits", _:
                    self.logits = program(self.leaves, self.logits, logit_rows)
                case "mask", int(size):
                    self.logits = program(self.logits, self._put(self._mask_words([], size)))
                case "sample", *_:
                    self.rows, _ = program(self.rows, self.sampler_rows, self.logits, logit_rows)
        jax.block_until_ready(self.rows)

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        """Replace weights in place by checkpoint name -> array; sleeping ones are woken first."""
        self.wake_weights()
        self.leaves = self.updater(self.leaves, weights)

    def sleep(self, level: int) -> None:
        """Free the pool and the weights on the devices; level 1 keeps the weights on the host, level 2 drops them."""
        if self._weights is None:
            kept = jax.device_get(self.leaves) if level == 1 else None
            self._weights = SleepingWeights(kept, tuple(leaf.sharding for leaf in self.leaves))
            _delete(self.leaves)
        elif level > 1:
            self._weights = self._weights._replace(kept=None)
        if self._pages is None:
            self._pages = tuple(map(self.pool.num_pages, range(len(self.pool.arrays))))
            _delete(self.pool.arrays)

    def wake_weights(self) -> None:
        """Bring the weights back that sleep() freed; those that were not kept come back as zeros."""
        if self._weights is not None:
            kept, shardings = self._weights
            kept = kept or tuple(np.zeros(leaf.shape, leaf.dtype) for leaf in self.leaves)
            self.leaves = tuple(jax.device_put(kept, shardings))
            self._weights = None

    def wake_pool(self) -> None:
        """Allocate the pool that sleep() freed, empty."""
        if self._pages is not None:
            self.pool = KVPool.allocate(self.pool.geometry, self._pages)
            self._pages = None

    def is_complete(self) -> bool:
        """Whether weights and pool are on the devices."""
        return self._weights is None and self._pages is None

    def _admit(self, plan: StepPlan) -> None:
        pending = [list(shard.admissions) for shard in plan.shards]
        while any(pending):
            packed = np.zeros((len(pending), SLOTS, self.admission.size), np.int32)
            for out, admissions in zip(packed, pending, strict=True):
                self._pack_admissions(admissions[:SLOTS], out)
            pending = [admissions[SLOTS:] for admissions in pending]
            self.admission.check(packed, self.limits)
            program = self.programs["admit",]
            self.rows, self.sampler_rows = program(self.rows, self.sampler_rows, self._put(packed))
        for index, shard in enumerate(plan.shards):
            for admission in shard.admissions:
                self._write_history(len(plan.shards), index, admission)
                self.embeds.admit(index, admission)

    def _pack_admissions(self, admissions: Sequence[Admission], out: np.ndarray) -> None:
        if admissions:
            rows, _, params, prompt_lens, seeds, pages, _, _, eos_token_ids = zip(*admissions, strict=True)
            sampler_rows = self.sampler.encode_rows(params, prompt_lens, seeds, eos_token_ids)
            self.admission.pack(rows, pages, sampler_rows, out)

    def _write_history(self, shards: int, shard: int, admission: Admission) -> None:
        """Tokens that will not be computed here again (cached prefix), for penalties that look back at them."""
        for start in range(0, len(admission.known_tokens), HISTORY_TOKENS):
            tokens = admission.known_tokens[start : start + HISTORY_TOKENS]
            packed = np.zeros((shards, 3 + HISTORY_TOKENS), np.int32)
            packed[shard, :3] = admission.row, start, len(tokens)
            packed[shard, 3 : 3 + len(tokens)] = tokens
            self.rows = self.programs["write_history",](self.rows, self._put(packed))

    def _copy_pages(self, plan: StepPlan) -> None:
        for group in range(len(self.limits.pages)):
            copies = [shard.page_copies[group] for shard in plan.shards]
            if any(len(pairs) for pairs in copies):
                self.pool = self.pool.copy(group, copies)

    def _backbone(self, plan: StepPlan, layout: BatchLayout) -> LogitInput:
        logit_rows: LogitInput
        state = self.leaves, self.pool.arrays, self.rows, self._put(pack(layout, plan))
        given = self.embeds.of(plan, layout.tokens)
        if given is None:
            arrays, self.rows, logit_rows = self.programs["backbone", layout.tokens](*state)
        else:
            program = self.programs["backbone_with_embeds", layout.tokens]
            arrays, self.rows, logit_rows = program(*state, *map(self._put, given))
        self.pool = self.pool.with_arrays(arrays)
        return logit_rows

    def _head(self, plan: StepPlan, logit_rows: LogitInput, wanted: int) -> Sampled:
        scored = any(len(shard.prompt_logprob_rows) for shard in plan.shards)
        variant = Variant.LOGPROBS if scored else Variant(max(shard.variant for shard in plan.shards))
        self.logits = self.programs["logits", choose(self.buckets.logit_rows, wanted)](
            self.leaves, self.logits, logit_rows
        )
        if any(len(shard.masks) for shard in plan.shards):
            size = choose(self.buckets.masks, wanted)
            self.logits = self.programs["mask", size](self.logits, self._put(self._mask_words(plan.shards, size)))
        sampled: Sampled
        program = self.programs["sample", variant, choose(self._sample_sizes(variant), wanted)]
        self.rows, sampled = program(self.rows, self.sampler_rows, self.logits, logit_rows)
        for array in jax.tree.leaves(sampled):
            array.copy_to_host_async()
        return sampled

    def _mask_words(self, shards: Sequence[ShardPlan], size: int) -> np.ndarray:
        """Masks of the first `size` head rows, int32 [d, size, w]; rows without one allow every token."""
        words = np.full((self.mesh.shape["data"], size, num_words(self.logits.shape[-1])), -1, np.int32)
        for line, shard in zip(words, shards, strict=False):
            if len(shard.masks):
                line[shard.masked_logit_rows] = 0
                line[shard.masked_logit_rows, : shard.masks.shape[1]] = shard.masks
        return words

    def _sample_sizes(self, variant: Variant) -> tuple[int, ...]:
        return self.buckets.samples if variant in COMMON_VARIANTS else self.buckets.rare_samples

    def _put(self, packed: np.ndarray) -> jax.Array:
        placed: jax.Array = jax.device_put(packed, NamedSharding(self.mesh, PartitionSpec("data")))
        return placed


def _delete(arrays: Sequence[jax.Array]) -> None:
    for array in arrays:
        array.delete()


def _num_logit_rows(shard: ShardPlan) -> int:
    return int(np.count_nonzero(shard.samples)) + len(shard.prompt_logprob_rows)


def backbone_size(buckets: Buckets, plan: StepPlan) -> int:
    """Padded tokens of the backbone that computes a plan: the same on every shard."""
    tokens = max(int(shard.counts.sum()) for shard in plan.shards)
    return buckets.of_step(tokens, all(shard.num_decodes == len(shard.rows) for shard in plan.shards))
