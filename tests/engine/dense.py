"""The oracle: the same decoder without a cache, over the whole sequence at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.models.registry import REGISTRY, Registry
from jaxpaged.quant.scheme import Scheme
from tests.models.dense import Leaves, assemble, logits_of


@dataclass
class Oracle:
    """Logits of whole sequences, padded to one length (attention is causal) so that one program serves all."""

    decoder: FunctionalDecoder
    leaves: Leaves
    length: int

    def __post_init__(self) -> None:
        self._program = jax.jit(partial(logits_of, self.decoder))

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """float64 [t, vocab] after each of the tokens."""
        padded = jnp.zeros(self.length, jnp.int32).at[: len(tokens)].set(jnp.asarray(tokens, jnp.int32))
        logits = np.asarray(self._program(self.leaves, padded))
        return logits[: len(tokens), : self.decoder.spec.vocab_size].astype(np.float64)

    def log_softmax(self, tokens: Sequence[int]) -> np.ndarray:
        logits = self.logits(tokens)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def assert_greedy(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Every token of the answer is the best one after those before it."""
        best = self.logits([*prompt, *answer]).argmax(axis=1)
        assert list(answer) == best[len(prompt) - 1 : -1].tolist()


def oracle_of(directory: Path, length: int, scheme: Scheme | None = None, registry: Registry = REGISTRY) -> Oracle:
    config = json.loads((directory / "config.json").read_text())
    spec, parts = registry.spec_from_config(config), registry.layer_parts
    decoder = build_decoder(spec, dtype=jnp.float32, scheme=scheme, layer_parts=parts)
    tensors = load_file(directory / "model.safetensors")
    return Oracle(decoder, assemble(registry.find_architecture(config).weights, decoder, tensors), length)
