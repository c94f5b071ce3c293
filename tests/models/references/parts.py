"""What the numpy references share: arithmetic on one sequence, in float64, without a cache."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def gated_mlp(x: Array, gate: Array, up: Array, down: Array) -> Array:
    gated = x @ gate.T
    return (gated / (1 + np.exp(-gated)) * (x @ up.T)) @ down.T


def turn(x: Array, theta: float, *, adjacent: bool = False) -> Array:
    """Rotate x [t, h, d]: its pairs as complex numbers, by angles that grow with the position."""
    t, heads, d = x.shape
    angles = np.arange(t)[:, None] * theta ** (-np.arange(0, d, 2) / d)
    pairs = x.reshape(t, heads, d // 2, 2) if adjacent else np.stack([x[..., : d // 2], x[..., d // 2 :]], axis=-1)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles)[:, None]
    parts = np.stack([turned.real, turned.imag], axis=-1)
    return parts.reshape(x.shape) if adjacent else np.concatenate([parts[..., 0], parts[..., 1]], axis=-1)


def attend(q: Array, k: Array, v: Array, slopes: list[float] | None = None) -> Array:
    """Causal attention of q [t, h, d] over k and v [t, g, d], h a multiple of g -> [t, h * d]."""
    t, heads, d = q.shape
    behind = np.arange(t)[:, None] - np.arange(t)[None, :]
    out = np.empty(q.shape)
    for head in range(heads):
        shared = head * k.shape[1] // heads
        scores = q[:, head] @ k[:, shared].T / np.sqrt(d)
        if slopes is not None:
            scores = scores - slopes[head] * behind
        weights = np.exp(np.where(behind >= 0, scores - scores.max(-1, keepdims=True), -np.inf))
        out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, shared]
    return out.reshape(t, -1)
