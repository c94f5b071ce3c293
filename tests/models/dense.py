"""Tiny checkpoints through the Decoder without a cache: assembled leaves, and all logits of one sequence."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.layers.attention import dense_attend
from jaxpaged.models.weight_rules import WeightRules
from jaxpaged.weights.plan import plan_weights

Leaves = tuple[jax.Array, ...]


def assemble(rules: WeightRules, decoder: FunctionalDecoder, tensors: Mapping[str, np.ndarray]) -> Leaves:
    """The leaves of a checkpoint. They start as NaN, so that what the plan forgets spoils every logit."""
    plan = plan_weights(rules, decoder, {name: (array.shape, array.dtype) for name, array in tensors.items()})
    assert {name for piece in plan.slices for name in piece.sources} | set(plan.ignored) == set(tensors)
    leaves = [np.full(info.shape, np.nan if info.dtype != np.int8 else -128, info.dtype) for info in decoder.params]
    for piece in plan.slices:
        arrays = piece.assemble(*(jnp.asarray(tensors[name]) for name in piece.sources))
        for leaf, array in zip(piece.leaves, arrays, strict=True):
            where = piece.index if decoder.params[leaf].layers else ...
            leaves[leaf][where] = array
    return tuple(map(jnp.asarray, leaves))


def logits_of(decoder: FunctionalDecoder, leaves: Leaves, tokens: jax.Array) -> jax.Array:
    """[t, vocab] of one sequence from position 0. Differentiable."""
    positions = jnp.arange(tokens.shape[0], dtype=jnp.int32)
    x = decoder.embed(leaves, tokens, positions)
    hidden, _ = decoder.hidden(leaves, x, positions, dense_attend(positions), None)
    return decoder.logits(leaves, hidden)


def run(decoder: FunctionalDecoder, leaves: Leaves, tokens: np.ndarray) -> np.ndarray:
    # These programs run once: compile them quickly rather than well.
    program = jax.jit(partial(logits_of, decoder), compiler_options={"xla_backend_optimization_level": 0})
    return np.asarray(program(leaves, jnp.asarray(tokens, jnp.int32)))
