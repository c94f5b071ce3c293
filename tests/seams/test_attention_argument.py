"""Attention is an argument: what the engine serves can be trained, and its log probabilities are those of training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxpaged.layers.attention import dense_attend
from tests.engine.dense import Oracle
from tests.engine.tiny import VOCAB
from tests.models.dense import Leaves, logits_of

TOKENS = jnp.asarray([(7 * i * i + 3 * i) % VOCAB for i in range(32)], jnp.int32)


def test_a_step_of_gradient_descent_lowers_the_loss(oracle: Oracle) -> None:
    def loss(leaves: Leaves) -> jax.Array:
        log_probs = jax.nn.log_softmax(logits_of(oracle.decoder, leaves, TOKENS)[:, :VOCAB])
        return -jnp.take_along_axis(log_probs[:-1], TOKENS[1:, None], axis=1).mean()

    step = jax.jit(lambda leaves: jax.tree.map(lambda p, g: p - jnp.float32(0.02) * g, leaves, jax.grad(loss)(leaves)))
    before, after = jax.jit(loss)(oracle.leaves), jax.jit(loss)(step(oracle.leaves))
    assert after < before - 0.1


def test_segments_attend_to_themselves_only(oracle: Oracle) -> None:
    """Two packed sequences, as an encoder or a scorer would run them, each like on its own."""
    decoder, leaves = oracle.decoder, oracle.leaves
    positions = jnp.asarray([*range(12), *range(20)], jnp.int32)
    segments = jnp.asarray([0] * 12 + [1] * 20, jnp.int32)
    x = decoder.embed(leaves, TOKENS, positions)
    hidden, _ = decoder.hidden(leaves, x, positions, dense_attend(positions, segments), None)
    logits = np.asarray(decoder.logits(leaves, hidden))[:, :VOCAB]
    np.testing.assert_allclose(logits[:12], oracle.logits(TOKENS[:12].tolist()), atol=1e-4)
    np.testing.assert_allclose(logits[12:], oracle.logits(TOKENS[12:].tolist()), atol=1e-4)
