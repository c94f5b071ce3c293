"""The pure functions that become the engine's programs.

    backbone   tokens -> hidden rows that the head needs; writes the KV pools, the token history and the page tables
    logits     hidden rows -> logits, into a buffer that stays on the device
    mask       forbids tokens in that buffer, in steps with structured output only
    sample     logits -> tokens (and log probabilities); writes the sampled tokens into the history
    admit      initialises device rows of newly admitted requests
    remember   writes earlier tokens of a row into the history (a cached prefix that the sampler must see)

Everything per request lives in device rows; each array has the data shard as its first axis. Programs run in the order
of their calls, so a page or row that one step frees may be given away by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float32, Int32

from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.execution.attend import PagedAttend, Pools
from jaxpaged.execution.batch import HEADER, BatchLayout, DeviceBatch, unpack
from jaxpaged.execution.row_upload import AdmissionLayout
from jaxpaged.kv.pool import PoolGeometry
from jaxpaged.sampling.sampler import Sampled, Sampler, StageContext
from jaxpaged.sampling.token_masks import apply_masks
from jaxpaged.sampling.variant import Variant

DATA = PartitionSpec("data")
LOGITS = PartitionSpec("data", None, "model")
Leaves = tuple[Array, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DeviceRows:
    """What the device remembers per request: its tokens [d, r, l] and its page table per cache group [d, r, p]."""

    history: Int32[Array, "d r l"]
    tables: tuple[Array, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogitRows:
    """What the head must know of each of its rows. `samples` is 1 where the row's next token is to be sampled."""

    rows: Int32[Array, "d s"]
    positions: Int32[Array, "d s"]
    samples: Int32[Array, "d s"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogitInput:
    """Rows for the head, padded to max_num_seqs; the first `count` are there."""

    hidden: Float[Array, "d s e"]
    rows: LogitRows
    count: Int32[Array, " d"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Prepared:
    ids: Array
    page_tables: tuple[Array, ...]
    distribution: Array


@dataclass(frozen=True)
class StepFunctions:
    """The static side of every program: what is compiled in."""

    decoder: FunctionalDecoder
    sampler: Sampler
    mesh: Mesh
    pool: PoolGeometry

    def per_shard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Map over the data shards; indices inside are local to a shard."""
        return jax.shard_map(jax.vmap(function), mesh=self.mesh, in_specs=DATA, out_specs=DATA, check_vma=False)

    def backbone(
        self, layout: BatchLayout, leaves: Leaves, pools: Pools, rows: DeviceRows, packed: Int32[Array, "d k"]
    ) -> tuple[Pools, DeviceRows, LogitInput]:
        """One step over `layout.tokens` padded tokens per shard. Donates pools and rows."""
        return self._backbone(layout, leaves, pools, rows, packed, None, None)

    def backbone_with_embeds(
        self,
        layout: BatchLayout,
        leaves: Leaves,
        pools: Pools,
        rows: DeviceRows,
        packed: Int32[Array, "d k"],
        embeds: Float[Array, "d t e"],
        use_embeds: Array,
    ) -> tuple[Pools, DeviceRows, LogitInput]:
        """The same where `use_embeds` [d, t] marks tokens whose embedding is given instead of looked up."""
        return self._backbone(layout, leaves, pools, rows, packed, embeds, use_embeds)

    def _backbone(
        self,
        layout: BatchLayout,
        leaves: Leaves,
        pools: Pools,
        rows: DeviceRows,
        packed: Int32[Array, "d k"],
        embeds: Float[Array, "d t e"] | None,
        use_embeds: Array | None,
    ) -> tuple[Pools, DeviceRows, LogitInput]:
        batch = self.per_shard(lambda words: unpack(layout, words))(packed)
        rows, prepared = self.per_shard(_prepare)(rows, batch)
        positions = batch.positions.reshape(-1)
        given = None if embeds is None else embeds.reshape(-1, embeds.shape[-1]).astype(self.decoder.dtype)
        is_given = None if use_embeds is None else use_embeds.reshape(-1)
        x = self.decoder.embed(leaves, prepared.ids.reshape(-1), positions, given, is_given)
        attend = self.attend(layout, prepared, batch)
        hidden, pools = self.decoder.hidden(leaves, x, positions, attend, pools)
        shards = packed.shape[0]
        hidden = hidden.reshape(shards, -1, hidden.shape[-1])
        chosen = self.per_shard(lambda h, b: h[b.logits_indices])(hidden, batch)
        logit_rows = LogitRows(batch.logits_request_rows, batch.logits_positions, batch.logits_samples)
        return pools, rows, LogitInput(chosen, logit_rows, batch.header[:, HEADER.index("num_logit_rows")])

    def attend(self, layout: BatchLayout, prepared: _Prepared, batch: DeviceBatch) -> PagedAttend:
        """The decoder's attention argument: what its layers keep is in the pools."""
        return PagedAttend(
            self.pool,
            prepared.page_tables,
            batch.kv_lens,
            batch.cu_q_lens,
            prepared.distribution,
            layout.decodes_only,
        )

    def logits(
        self, size: int, leaves: Leaves, buffer: Float32[Array, "d s v"], logit_rows: LogitInput
    ) -> Float32[Array, "d s v"]:
        """The buffer with the logits of the first `size` head rows of every shard. Donates buffer."""
        hidden = logit_rows.hidden[:, :size]
        logits = self.decoder.logits(leaves, hidden.reshape(-1, hidden.shape[-1]))
        logits = logits.reshape(-1, size, logits.shape[-1])
        return self._split_vocab(buffer.at[:, :size].set(logits))

    def mask(self, size: int, buffer: Float32[Array, "d s v"], words: Int32[Array, "d n w"]) -> Float32[Array, "d s v"]:
        """The buffer with -inf where `words` forbid a token in the first `size` rows of a shard. Donates buffer."""
        masked = buffer.at[:, :size].set(apply_masks(buffer[:, :size], words))
        return self._split_vocab(masked)

    def _split_vocab(self, logits: Float32[Array, "d s v"]) -> Float32[Array, "d s v"]:
        split: Array = lax.with_sharding_constraint(logits, NamedSharding(self.mesh, LOGITS))
        return split

    def sample(
        self,
        variant: Variant,
        size: int,
        group: int,
        rows: DeviceRows,
        sampler_rows: Any,
        logits: Float32[Array, "d s v"],
        logit_rows: LogitInput,
    ) -> tuple[DeviceRows, Sampled]:
        """Sample the first `size` head rows of every shard, `group` at a time as far as there are any. Donates rows."""
        wanted = jax.tree.map(lambda field: field[:, :size], (logits, logit_rows.rows))

        def sample_group(start: Array | int) -> Sampled:
            part = jax.tree.map(lambda field: lax.dynamic_slice_in_dim(field, start, group, axis=1), wanted)
            return self._sample(variant, sampler_rows, rows.history, *part)

        def add_group(index: Array, sampled: Sampled) -> Sampled:
            start = jnp.minimum(index * group, size - group)
            put = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=1)
            added: Sampled = jax.tree.map(put, sampled, sample_group(start))
            return added

        if group == size:
            sampled = sample_group(0)
        else:
            one = jax.eval_shape(sample_group, 0)
            none = jax.tree.map(lambda leaf: jnp.zeros((leaf.shape[0], size, *leaf.shape[2:]), leaf.dtype), one)
            groups = (jnp.max(logit_rows.count) + (group - 1)) // group
            sampled = lax.fori_loop(0, groups, add_group, none)
        history = self.per_shard(_write_sampled)(rows.history, wanted[1], sampled.tokens)
        return DeviceRows(history, rows.tables), sampled

    def _sample(
        self,
        variant: Variant,
        sampler_rows: Any,
        history: Array,
        logits: Float32[Array, "d n v"],
        logit_rows: LogitRows,
    ) -> Sampled:
        state, history, following = self.per_shard(_gather_rows)(sampler_rows, history, logit_rows)
        flat = jax.tree.map(
            lambda field: field.reshape(-1, *field.shape[2:]), (logits, state, history, following, logit_rows)
        )
        logits, state, history, following, flat_rows = flat
        sampled: Sampled = self.sampler.sample(
            logits,
            state,
            StageContext(history=history, length=flat_rows.positions + 1, prompt_len=state.prompt_len),
            flat_rows.positions,
            variant=variant,
            targets=following,
            use_targets=flat_rows.samples == 0,
        )
        sampled = jax.tree.map(lambda field: field.reshape(*logit_rows.rows.shape, *field.shape[1:]), sampled)
        return sampled

    def admit(
        self, layout: AdmissionLayout, rows: DeviceRows, sampler_rows: Any, packed: Int32[Array, "d slots k"]
    ) -> tuple[DeviceRows, Any]:
        """Set page tables and sampling state of newly admitted rows. Donates rows and sampler_rows."""

        def one_shard(tables: tuple[Array, ...], sampler_rows: Any, packed: Array) -> tuple[tuple[Array, ...], Any]:
            row_ids, new_tables, new_rows = layout.unpack(packed)
            tables = tuple(old.at[row_ids].set(new) for old, new in zip(tables, new_tables, strict=True))
            return tables, jax.tree.map(lambda old, new: old.at[row_ids].set(new), sampler_rows, new_rows)

        tables, sampler_rows = self.per_shard(one_shard)(rows.tables, sampler_rows, packed)
        return DeviceRows(rows.history, tables), sampler_rows

    def write_history(self, rows: DeviceRows, packed: Int32[Array, "d k"]) -> DeviceRows:
        """Write tokens of one row per shard into the history. packed: row, first position, count, tokens."""

        def one_shard(history: Array, packed: Array) -> Array:
            row, start, count, tokens = packed[0], packed[1], packed[2], packed[3:]
            offset = jnp.arange(tokens.shape[0], dtype=jnp.int32)
            target = jnp.where(offset < count, row, 0)
            position = jnp.minimum(start + offset, history.shape[1] - 1)
            return history.at[target, position].set(tokens)

        return DeviceRows(self.per_shard(one_shard)(rows.history, packed), rows.tables)


def _prepare(rows: DeviceRows, batch: DeviceBatch) -> tuple[DeviceRows, _Prepared]:
    """Apply the step's changes to the rows, then read what the step needs from them."""
    given = batch.given != 0
    history = rows.history.at[jnp.where(given, batch.token_rows, 0), batch.positions].set(batch.tokens)
    tables = tuple(
        table.at[writes[:, 0], writes[:, 1]].set(writes[:, 2])
        for table, writes in zip(rows.tables, batch.page_writes, strict=True)
    )
    prepared = _Prepared(
        ids=history[batch.token_rows, batch.positions],
        page_tables=tuple(table[batch.seq_rows] for table in tables),
        distribution=batch.distribution,
    )
    return DeviceRows(history, tables), prepared


def _gather_rows(sampler_rows: Any, history: Array, logit_rows: LogitRows) -> tuple[Any, Array, Array]:
    """A head row's sampling state, its tokens so far, and the known token after its position."""
    state = jax.tree.map(lambda field: field[logit_rows.rows], sampler_rows)
    tokens = history[logit_rows.rows]
    following = history[logit_rows.rows, jnp.minimum(logit_rows.positions + 1, history.shape[1] - 1)]
    return state, tokens, following


def _write_sampled(history: Array, logit_rows: LogitRows, tokens: Array) -> Array:
    rows = jnp.where(logit_rows.samples != 0, logit_rows.rows, 0)
    return history.at[rows, jnp.minimum(logit_rows.positions + 1, history.shape[1] - 1)].set(tokens)
