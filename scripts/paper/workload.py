"""Requests as the paper drew them: lengths of a known mean, arrivals of a Poisson process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper.published import MAX_MODEL_LEN

SEED = 0
SIGMA = 0.8  # of the logarithm of a length; the paper gives means only


@dataclass(frozen=True)
class Workload:
    """Lognormal lengths with these means, after requests of MAX_MODEL_LEN tokens and more are dropped, as there."""

    name: str
    prompt: float
    answer: float
    sigma: float = SIGMA

    @property
    def warm_up(self) -> int:
        """Steps after which requests that all came at once are at different places of their lives."""
        return int(2 * self.answer)

    def lengths(self, count: int, seed: int = SEED) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of prompts and of answers, int [count] each, at least 1."""
        normal = np.random.default_rng(seed).standard_normal((2, count + count // 4 + 16))
        means = np.array([[self.prompt], [self.answer]], np.float64)
        scale = means.copy()
        for _ in range(20):  # dropping the longest lowers the mean
            tokens = np.maximum(np.exp(self.sigma * normal) * scale, 1)
            tokens = tokens[:, tokens.sum(axis=0) < MAX_MODEL_LEN - 1][:, :count]
            scale *= means / tokens.mean(axis=1, keepdims=True)
        prompts, answers = np.rint(tokens).astype(np.int64)
        return prompts, answers

    def arrivals(self, count: int, live: float, samples: int = 1, seed: int = SEED) -> NDArray[np.float64]:
        """The steps at which requests arrive, so that about `live` sequences run at once: float [count]."""
        gap = self.answer * samples / live
        return np.random.default_rng((seed, 1)).exponential(gap, count).cumsum()


SHAREGPT = Workload("ShareGPT-like", 161.3, 338.0)
ALPACA = Workload("Alpaca-like", 19.3, 58.5)
WORKLOADS = (ALPACA, SHAREGPT)
# A sentence of WMT16 English to German behind the shared examples; its lengths are an estimate of ours.
TRANSLATION = Workload("translation", 28.0, 40.0, sigma=0.5)
