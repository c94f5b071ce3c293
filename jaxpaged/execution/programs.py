"""The list of programs an engine needs, with the abstract arguments they are compiled for.

Backbone programs are keyed by tokens only, those of the head by rows only, so their number is a sum, not a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpaged.execution.batch import BatchLayout, BatchLimits
from jaxpaged.execution.buckets import Buckets
from jaxpaged.execution.compiler import Program
from jaxpaged.execution.row_upload import SLOTS, AdmissionLayout
from jaxpaged.execution.step import LOGITS, DeviceRows, LogitInput, LogitRows, StepFunctions
from jaxpaged.layers.embedding import padded_vocab
from jaxpaged.sampling.logprobs import SampledLogprobs
from jaxpaged.sampling.sampler import Sampled
from jaxpaged.sampling.token_masks import num_words
from jaxpaged.sampling.variant import Variant

HISTORY_TOKENS = 512  # tokens one call of the `write_history` program writes into a row
COMMON_VARIANTS = (Variant.GREEDY, Variant.PLAIN)
RARE_VARIANTS = (Variant.FULL, Variant.LOGPROBS)


@dataclass(frozen=True)
class ProgramSet:
    """Everything that fixes the shapes of an engine's programs. `leaves`, `pools`: ShapeDtypeStructs with shardings."""

    functions: StepFunctions
    buckets: Buckets
    limits: BatchLimits
    leaves: tuple[jax.ShapeDtypeStruct, ...]
    pools: tuple[jax.ShapeDtypeStruct, ...]
    prompt_embeds: bool = False
    structured: bool = False
    variants: tuple[Variant, ...] = tuple(Variant)

    @property
    def mesh(self) -> Mesh:
        return self.functions.mesh

    @property
    def shards(self) -> int:
        return int(self.mesh.shape["data"])

    def rows(self) -> DeviceRows:
        """Abstract device rows: token history and page tables."""
        limits = self.limits
        tables = tuple(self._per_shard(limits.rows, width) for width in limits.table_width)
        return DeviceRows(self._per_shard(limits.rows, limits.history), tables)

    def sampler_rows(self) -> Any:
        """Abstract sampling state of every row."""
        one = jax.eval_shape(lambda: self.functions.sampler.init_rows(self.limits.rows))
        return jax.tree.map(lambda leaf: self._per_shard(*leaf.shape, dtype=leaf.dtype), one)

    def logits_buffer(self) -> jax.ShapeDtypeStruct:
        """Abstract logits of every row of the head, the padded vocabulary over `model`."""
        decoder = self.functions.decoder
        shape = self.shards, self.limits.max_num_seqs, padded_vocab(decoder.spec.vocab_size, decoder.tensor_parallel)
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(self.mesh, LOGITS))

    def state_bytes(self) -> int:
        """What the rows and the logits take on one device."""
        leaves = jax.tree.leaves((self.rows(), self.sampler_rows(), self.logits_buffer()))
        return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)

    def admission(self) -> AdmissionLayout:
        one = jax.eval_shape(lambda: self.functions.sampler.init_rows(self.limits.rows))
        return AdmissionLayout.of(self.limits.table_width, one)

    def all(self) -> Iterator[Program]:
        """Largest first, so that the slowest compile does not come last."""
        yield from self.of_pages(self.buckets.tokens)
        yield from self.without_pages()

    def of_pages(self, sizes: Sequence[int]) -> Iterator[Program]:
        """Those that read and write the pool: compiled for its number of pages."""
        yield from (self.backbone(size) for size in reversed(sizes))
        if self.prompt_embeds:
            yield from (self._backbone_with_embeds(size) for size in reversed(sizes))

    def without_pages(self) -> Iterator[Program]:
        """Those that know nothing of the pool: the same for any number of pages."""
        yield from self._samples(RARE_VARIANTS, self.buckets.rare_samples)
        yield from self._samples(COMMON_VARIANTS, self.buckets.samples)
        yield from (self.logits(size) for size in reversed(self.buckets.logit_rows))
        yield self._admit()
        yield self._write_history()
        if self.structured:
            yield from (self.mask(size) for size in self.buckets.masks)

    def layout(self, size: int) -> BatchLayout:
        return BatchLayout(size, self.limits, self.buckets.holds_decodes_only(size))

    def backbone(self, size: int) -> Program:
        layout = self.layout(size)
        arguments = (self.leaves, self.pools, self.rows(), self._per_shard(layout.size))
        function = partial(self.functions.backbone, layout)
        cacheable, results = self.functions.decoder.cacheable, self._step_results()
        return Program(("backbone", size), function, arguments, (1, 2), cacheable, results)

    def _backbone_with_embeds(self, size: int) -> Program:
        layout = self.layout(size)
        width = self.functions.decoder.spec.embedding.width
        embeds = self._per_shard(size, width, dtype=jnp.float32)
        use = self._per_shard(size, dtype=jnp.bool_)
        arguments = (self.leaves, self.pools, self.rows(), self._per_shard(layout.size), embeds, use)
        function = partial(self.functions.backbone_with_embeds, layout)
        cacheable, results = self.functions.decoder.cacheable, self._step_results()
        return Program(("backbone_with_embeds", size), function, arguments, (1, 2), cacheable, results)

    def logits(self, size: int) -> Program:
        buffer = self.logits_buffer()
        arguments = (self.leaves, buffer, self._logit_input())
        function = partial(self.functions.logits, size)
        return Program(("logits", size), function, arguments, (1,), self.functions.decoder.cacheable, buffer)

    def mask(self, size: int) -> Program:
        buffer = self.logits_buffer()
        arguments = (buffer, self._per_shard(size, num_words(buffer.shape[-1])))
        return Program(("mask", size), partial(self.functions.mask, size), arguments, donate=(0,), results=buffer)

    def sample(self, variant: Variant, size: int) -> Program:
        function = partial(self.functions.sample, variant, size, self.buckets.sample_group or size)
        arguments = (self.rows(), self.sampler_rows(), self.logits_buffer(), self._logit_input())
        results = self.rows(), _like_sampled(variant)
        return Program(("sample", variant, size), function, arguments, donate=(0,), results=results)

    def _samples(self, variants: Sequence[Variant], sizes: Sequence[int]) -> Iterator[Program]:
        wanted = [variant for variant in variants if variant in self.variants]
        yield from (self.sample(variant, size) for variant in wanted for size in reversed(sizes))

    def _admit(self) -> Program:
        layout = self.admission()
        arguments = (self.rows(), self.sampler_rows(), self._per_shard(SLOTS, layout.size))
        function = partial(self.functions.admit, layout)
        return Program(("admit",), function, arguments, donate=(0, 1), results=arguments[:2])

    def _write_history(self) -> Program:
        arguments = (self.rows(), self._per_shard(3 + HISTORY_TOKENS))
        return Program(("write_history",), self.functions.write_history, arguments, donate=(0,), results=arguments[0])

    def _step_results(self) -> tuple[Any, ...]:
        return self.pools, self.rows(), self._logit_input()

    def _logit_input(self) -> LogitInput:
        seqs, decoder = self.limits.max_num_seqs, self.functions.decoder
        index = self._per_shard(seqs)
        hidden = self._per_shard(seqs, decoder.spec.hidden_size, dtype=decoder.dtype)
        return LogitInput(hidden, LogitRows(index, index, index), self._per_shard())

    def _per_shard(self, *shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(self.mesh, PartitionSpec("data"))
        return jax.ShapeDtypeStruct((self.shards, *shape), dtype, sharding=sharding)


def _like_sampled(variant: Variant) -> Sampled:
    """As the sampler returns it, of no arrays."""
    leaf: Any = 0
    scores = SampledLogprobs(leaf, leaf, leaf, leaf, leaf) if variant == Variant.LOGPROBS else None
    return Sampled(leaf, leaf, leaf, scores)
