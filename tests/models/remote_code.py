"""Families that transformers has no class for: their cases, each beside a numpy reference of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpaged.decoder.functional import build_decoder
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.models.spec import DecoderSpec
from tests.models.case import NEW_TOKENS, PROMPT_LEN, VOCAB, Case, make_weights
from tests.models.dense import assemble, run

Config = Mapping[str, Any]
Weights = Mapping[str, np.ndarray]
Change = Callable[[DecoderSpec], DecoderSpec]
SMALLEST_GAP = 1e-3  # between the best two logits, relative to the largest: else rounding might choose the token
FEWEST_TOKENS = 4  # different ones in a continuation
PROMPTS_TRIED = 100


def _is_telling(tokens: np.ndarray, logits: np.ndarray) -> bool:
    best = np.sort(logits[PROMPT_LEN - 1 : -1])[:, -2:]
    gap = (best[:, 1] - best[:, 0]).min() / np.abs(logits).max()
    return bool(gap > SMALLEST_GAP) and len(set(tokens[PROMPT_LEN:].tolist())) >= FEWEST_TOKENS


@dataclass(frozen=True)
class RemoteCase:
    """shapes: the tensors of a checkpoint. logits: of one sequence, [t, vocab], float64."""

    case: Case
    shapes: Callable[[Config], Mapping[str, tuple[int, ...]]]
    logits: Callable[[Config, Weights, np.ndarray], np.ndarray]

    @property
    def weights(self) -> Weights:
        return make_weights(self.case, self.shapes(self.case.config))

    def reference(self, tokens: np.ndarray) -> np.ndarray:
        wide = {name: array.astype(np.float64) for name, array in self.weights.items()}
        return self.logits(self.case.config, wide, tokens)

    def continued(self) -> tuple[np.ndarray, np.ndarray]:
        """A prompt with a greedy continuation that says much, and the logits."""
        wide = {name: array.astype(np.float64) for name, array in self.weights.items()}
        for seed in range(PROMPTS_TRIED):
            tokens = np.random.default_rng(seed).integers(0, VOCAB, PROMPT_LEN)
            for _ in range(NEW_TOKENS):
                tokens = np.append(tokens, self.logits(self.case.config, wide, tokens)[-1].argmax())
            logits = self.logits(self.case.config, wide, tokens)
            if _is_telling(tokens, logits):
                return tokens, logits
        raise AssertionError(f"{self.case.name}: no prompt has a telling continuation")

    def served(self, tokens: np.ndarray, change: Change = lambda spec: spec) -> np.ndarray:
        """The logits of our decoder, [t, vocab]."""
        spec = spec_from_config(self.case.config)
        decoder = build_decoder(change(spec), dtype=jnp.float32)
        leaves = assemble(find_architecture(self.case.config).weights, decoder, self.weights)
        return run(decoder, leaves, tokens)[:, : spec.vocab_size]
