"""A toy family with another kind of layer of its own: attention over one latent row per token, for all heads.

The row is key and value at once, the value being its first part. Heads are split over the devices; each has all rows.
A hybrid: a latent layer, a recurrent one and an ordinary one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxpaged.kv.kind import CacheKind, PageArray, PagePolicy
from jaxpaged.kv.policies import FullPages
from jaxpaged.layers.cache_op import Axes, CacheAccess, LayerPages
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.layers.linear import linear
from jaxpaged.layers.param import param, weight_of
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules
from pallas_kernels.paged_attention.tokens import token_places
from tests.engine import tiny
from tests.seams import toy_recurrent

HEADS, KEY, VALUE = 4, 12, 8


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """One row of `width` per token, on every device."""

    width: int

    @property
    def keeps_all(self) -> bool:
        return True

    def page_array(self, layout: object, page_size: int) -> PageArray:
        return PageArray((page_size, self.width), ("slot", None))

    def policy(self, page_size: int) -> PagePolicy:
        return FullPages(page_size)


@dataclass(frozen=True, slots=True)
class LatentAttend:
    """q [t, heads, key], rows [t, key] -> [t, heads, value]."""

    inputs: tuple[Axes, ...] = (("shard", "head", None), ("shard", None))
    output: Axes = ("shard", "head", None)

    def paged(self, pages: LayerPages, q: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        places = token_places(len(q), pages.sequences, pages.page_size)
        pool = pages.pool.at[pages.layer, places.page, places.slot].set(rows)
        seen = pool[pages.layer][pages.sequences.page_table[places.sequence]].reshape(len(q), -1, KEY)
        visible = jnp.arange(seen.shape[1], dtype=jnp.int32)[None] <= places.position[:, None]
        return self._attend(q, jnp.where(visible[:, :, None], seen, jnp.float32(0)), visible), pool

    def dense(self, positions: jax.Array, segments: jax.Array | None, q: jax.Array, rows: jax.Array) -> jax.Array:
        assert segments is None
        seen = jnp.broadcast_to(rows[None], (len(rows), *rows.shape))
        return self._attend(q, seen, positions[:, None] >= positions[None])

    def _attend(self, q: jax.Array, seen: jax.Array, visible: jax.Array) -> jax.Array:
        scores = jnp.einsum("thw,tkw->thk", q, seen, precision="highest") * KEY**-0.5
        weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
        return jnp.einsum("thk,tkv->thv", weights, seen[..., :VALUE], precision="highest")


@dataclass(frozen=True, slots=True)
class Latent:
    """The spec of the mixer."""

    @property
    def ropes(self) -> tuple[Rope, ...]:
        return ()

    def cache(self, tensor_parallel: int) -> CacheKind:
        return LatentSpec(KEY)

    def served_at(self, max_position: int) -> Latent:
        return self

    def check(self) -> None:
        pass


class LatentMixer(nnx.Module):
    """latent_out(attention of the heads' queries over the rows)."""

    def __init__(self, part: Latent, hidden: int, tensor_parallel: int, dtype: DTypeLike) -> None:
        self.query = param((HEADS * KEY, hidden), ("head", "embed"), dtype, inputs=1)
        self.row = param((KEY, hidden), (None, "embed"), dtype, inputs=1)
        self.latent_out = param((hidden, HEADS * VALUE), ("embed", "head"), dtype, inputs=1)

    def __call__[State](
        self, x: jax.Array, tokens: TokenContext, attend: CacheAccess[State], state: State, place: Place
    ) -> tuple[jax.Array, State]:
        q = linear(x, weight_of(self.query)).reshape(len(x), HEADS, KEY)
        state, out = attend.apply(state, place, LatentAttend(), q, linear(x, weight_of(self.row)))
        return linear(out.reshape(len(x), -1), weight_of(self.latent_out)), state


def spec_from_hf(config: Config) -> DecoderSpec:
    """Llama whose layers are latent, recurrent and ordinary in turn."""
    spec = llama.spec_from_hf(config)
    kinds = (Latent(), toy_recurrent.Recurrence(config["hidden_size"]), None)
    mixers = [kinds[i % 3] or layer.mixer for i, layer in enumerate(spec.layers)]
    return replace(spec, layers=tuple(map(lambda layer, mixer: replace(layer, mixer=mixer), spec.layers, mixers)))


RULES = tuple(
    Rule(f"model.layers.{{i}}.latent.{name}.weight", f"layers.{{i}}.mixer.{name}")
    for name in ("query", "row", "latent_out")
)
ARCHITECTURE = Architecture(
    names=("ToyHybridForCausalLM",),
    spec_from_hf=spec_from_hf,
    weights=WeightRules((*RULES, *toy_recurrent.RULES, *llama.RULES)),
    used_keys=llama.KEYS,
)
WITH_LATENT = toy_recurrent.WITH_RECURRENT.adding(ARCHITECTURE, {Latent: f"{__name__}:LatentMixer"})


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a checkpoint of three layers."""
    hidden = config["hidden_size"]
    own = {"query": (HEADS * KEY, hidden), "row": (KEY, hidden), "latent_out": (hidden, HEADS * VALUE)}
    shapes = {f"model.layers.0.latent.{name}.weight": shape for name, shape in own.items()}
    shapes |= {rule.source.format(i=1): (hidden, hidden) for rule in toy_recurrent.RULES}
    replaced = ("model.layers.0.self_attn", "model.layers.1.self_attn")
    return shapes | {n: shape for n, shape in tiny.llama_shapes(config).items() if not n.startswith(replaced)}
