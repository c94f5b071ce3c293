"""Masks as bits, against numpy."""

import jax
import numpy as np
import pytest

from jaxpaged.sampling.token_masks import apply_masks, num_words


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 131, 384])
def test_bits_forbid_their_tokens_and_leave_other_logits_alone(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    logits = rng.standard_normal((2, 3, vocab)).astype(np.float32)
    allowed = rng.random((2, 3, num_words(vocab) * 32)) < 0.5
    allowed[0, 0] = True
    words = np.packbits(allowed, axis=-1, bitorder="little").view(np.int32)
    assert words.shape == (2, 3, num_words(vocab))
    masked = np.asarray(jax.jit(apply_masks)(logits, words))
    np.testing.assert_array_equal(masked, np.where(allowed[..., :vocab], logits, -np.inf))
    np.testing.assert_array_equal(masked[0, 0], logits[0, 0])
