"""What a logit stage is: a pure function of logits and of one row of state per request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from jaxpaged.sampling_params import SamplingParams


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class StageContext:
    """The tokens so far: history[:length] is valid, history[:prompt_len] is the prompt."""

    history: Int32[Array, "n l"]
    length: Int32[Array, " n"]
    prompt_len: Int32[Array, " n"]


@runtime_checkable
class LogitStage(Protocol):
    """A frozen, hashable dataclass. EngineConfig.logits_processors appends such objects to the built-in ones.

    The state of a row is a pytree of arrays of fixed shape; all zeros must mean "off". apply() may use a row's own
    logits, state and history only, and must leave the logits of a row that is off exactly as they are.
    """

    @property
    def name(self) -> str: ...

    def init(self, rows: int) -> Any:
        """Zeros: the device state of `rows` rows, each leaf [rows, ...]."""

    def wanted(self, params: SamplingParams) -> bool:
        """Whether the request needs this stage; if not, its row stays zero."""

    def encode(self, params: SamplingParams, eos_token_ids: Sequence[int]) -> Any:
        """One row of state in numpy, like init()'s without the leading axis. Called once, at admission."""

    def apply(self, logits: Float32[Array, "n v"], state: Any, ctx: StageContext) -> Float32[Array, "n v"]:
        """New logits; -inf forbids a token. `v` may be padded; entries from vocab_size on are -inf and must stay so."""


def only_if_any(
    used: Bool[Array, " n"], change: Callable[..., Array], logits: Float32[Array, "n v"], *operands: Any
) -> Float32[Array, "n v"]:
    """change(logits, *operands) when some row uses it; else the logits, at no cost."""
    changed: Array = jax.lax.cond(jnp.any(used), change, lambda logits, *_: logits, logits, *operands)
    return changed


def token_slots(ids: Int32[Array, "n k"], used: Bool[Array, "n k"]) -> tuple[Array, Array]:
    """Index arrays for logits.at[...] with mode="drop": unused slots point outside."""
    row = jax.lax.broadcasted_iota(jnp.int32, ids.shape, 0)
    return row, jnp.where(used, ids, jnp.iinfo(jnp.int32).max)


def leading(count: Int32[Array, " n"], width: int) -> Bool[Array, "n width"]:
    """True in the first `count` slots of each row."""
    return jnp.arange(width, dtype=jnp.int32)[None, :] < count[:, None]
