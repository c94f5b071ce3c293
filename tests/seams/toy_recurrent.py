"""A toy family with a kind of layer of its own: a gated linear recurrence, whose state a page table keeps by pages.

Entry p of the table holds the state after the last token computed in page p, so a token needs the page of the one
before it, and nothing else. Pages that are full are snapshots: they serve prefix hits and forks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from jaxpaged.kv.kind import CacheKind, IntArray, PageArray, PagePolicy
from jaxpaged.kv.policies import WindowPages
from jaxpaged.layers.cache_op import Axes, CacheAccess, LayerPages
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.layers.linear import linear
from jaxpaged.layers.param import param, weight_of
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.registry import REGISTRY
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules
from pallas_kernels.paged_attention.tokens import token_places
from tests.engine import tiny

# --- what it keeps ---


@dataclass(frozen=True, slots=True)
class StatePages(WindowPages):
    """As a window of two tokens; but a later token writes over the state of an earlier one in the same page.

    A page more is kept, so that the prefix cache is offered each full page before it is let go.
    """

    @property
    def kept(self) -> WindowPages:
        return WindowPages(self.page_size, 2 * self.page_size)

    def first_kept(self, positions: IntArray) -> IntArray | None:
        return self.kept.first_kept(positions)

    def most_pages(self, tokens: int, chunk: int) -> int:
        return self.kept.most_pages(tokens, chunk)

    def resume_point(self, tokens: int, planned: int) -> int:
        return tokens if planned == tokens else tokens - tokens % self.page_size


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One float32 number per channel and page, whatever the model's dtype."""

    channels: int

    @property
    def keeps_all(self) -> bool:
        return False

    def page_array(self, layout: object, page_size: int) -> PageArray:
        return PageArray((self.channels,), ("ffn",), "float32")

    def policy(self, page_size: int) -> PagePolicy:
        return StatePages(page_size, 2)


# --- what it computes ---


@dataclass(frozen=True, slots=True)
class Recur:
    """decay, update [t, c] -> state [t, c]: state = decay * state before + update."""

    inputs: tuple[Axes, ...] = (("shard", "ffn"), ("shard", "ffn"))
    output: Axes = ("shard", "ffn")

    def paged(self, pages: LayerPages, decay: jax.Array, update: jax.Array) -> tuple[jax.Array, jax.Array]:
        size, sequences = pages.page_size, pages.sequences
        places = token_places(len(decay), sequences, size)
        index = jnp.arange(len(decay), dtype=jnp.int32)
        begins = index == sequences.cu_q_lens[places.sequence]
        before = sequences.page_table[places.sequence, jnp.maximum(places.position - 1, 0) // size]
        kept = jnp.where((places.position > 0)[:, None], pages.pool[pages.layer, before], jnp.float32(0))

        def one(state: jax.Array, token: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            begins, kept, decay, update = token
            state = decay * jnp.where(begins, kept, state) + update
            return state, state

        _, states = lax.scan(one, jnp.zeros_like(decay[0]), (begins, kept, decay, update))
        ends = (index == sequences.cu_q_lens[places.sequence + 1] - 1) | (places.position % size == size - 1)
        pool = pages.pool.at[pages.layer, jnp.where(ends, places.page, 0)].set(states)
        return states, pool

    def dense(self, positions: jax.Array, segments: jax.Array | None, decay: jax.Array, update: jax.Array) -> jax.Array:
        """Without a loop: each token's update, times all decays after it."""
        assert segments is None
        total = jnp.cumsum(jnp.log(decay), axis=0)
        faded = jnp.exp(total[:, None] - total[None])  # [t, from, c]
        earlier = positions[:, None] >= positions[None]
        return jnp.where(earlier[:, :, None], faded * update[None], jnp.float32(0)).sum(axis=1)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The spec of the mixer."""

    channels: int

    @property
    def ropes(self) -> tuple[Rope, ...]:
        return ()

    def cache(self, tensor_parallel: int) -> CacheKind:
        return StateSpec(self.channels)

    def served_at(self, max_position: int) -> Recurrence:
        return self

    def check(self) -> None:
        pass


class RecurrentMixer(nnx.Module):
    """state_out(state), with decay and update from the layer's input."""

    def __init__(self, part: Recurrence, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        self.decay = param((part.channels, hidden), ("ffn", "embed"), dtype, inputs=1)
        self.update = param((part.channels, hidden), ("ffn", "embed"), dtype, inputs=1)
        self.state_out = param((hidden, part.channels), ("embed", "ffn"), dtype, inputs=1)

    def __call__[State](
        self, x: jax.Array, tokens: TokenContext, attend: CacheAccess[State], state: State, place: Place
    ) -> tuple[jax.Array, State]:
        decay = jax.nn.sigmoid(jnp.float32(2) + linear(x, weight_of(self.decay), out_dtype=jnp.float32))
        update = (1 - decay) * linear(x, weight_of(self.update), out_dtype=jnp.float32)
        state, states = attend.apply(state, place, Recur(), decay, update)
        return linear(states.astype(x.dtype), weight_of(self.state_out)), state


# --- the family ---


def spec_from_hf(config: Config) -> DecoderSpec:
    """Llama with other mixers."""
    spec = llama.spec_from_hf(config)
    mixer = Recurrence(config["hidden_size"])
    return replace(spec, layers=tuple(replace(layer, mixer=mixer) for layer in spec.layers))


RULES = tuple(
    Rule(f"model.layers.{{i}}.recurrence.{name}.weight", f"layers.{{i}}.mixer.{name}")
    for name in ("decay", "update", "state_out")
)
ARCHITECTURE = Architecture(
    names=("ToyRecurrentForCausalLM",),
    spec_from_hf=spec_from_hf,
    weights=WeightRules((*RULES, *(rule for rule in llama.RULES if ".mixer." not in rule.target))),
    used_keys=llama.KEYS,
)
WITH_RECURRENT = REGISTRY.adding(ARCHITECTURE, {Recurrence: f"{__name__}:RecurrentMixer"})


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a checkpoint."""
    hidden = config["hidden_size"]
    shapes = {name: shape for name, shape in tiny.llama_shapes(config).items() if "self_attn" not in name}
    names = (rule.source.format(i=i) for rule in RULES for i in range(config["num_hidden_layers"]))
    return shapes | dict.fromkeys(names, (hidden, hidden))
