"""Sampled rows of a layer's output against attention in float64, before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from gpu.attention_cases import Arrays, Case
from pallas_kernels.paged_attention import PoolLayout

SEQUENCES = 3  # of a decode that are looked at, all heads
ROWS = 24  # of a prefill that are looked at, all heads
LIMIT = 1e-2  # of |output - exact| / |exact|: bfloat16 operands lie between 1e-3 and this


@dataclass(frozen=True)
class Accuracy:
    """Relative error of the sampled rows, that of rounding the exact ones to bfloat16, and what is wrong."""

    error: float
    rounding: float
    problem: str = ""


@dataclass(frozen=True)
class Sample:
    """Rows of the step to compare, and the exact ones: float64 [rows, hq, d]. Of the last layer."""

    rows: np.ndarray
    exact: np.ndarray


def draw(case: Case, layout: PoolLayout, arrays: Arrays, seed: int) -> Sample:
    """Choose rows and compute them exactly. Call it before the pool is donated."""
    rng = np.random.default_rng(seed)
    layer = case.layers - 1
    q, k, v = arrays.new[layer]
    if case.decode:
        rows = rng.choice(case.sequences, min(SEQUENCES, case.sequences), replace=False)
        exact = [
            attend(case, _float64(q[row])[None], *_held(case, layout, arrays, layer, int(row)), [case.length - 1])
            for row in rows
        ]
        return Sample(rows, np.concatenate(exact))
    edges = [0, 1, case.context // 2, case.context - 1]
    rows = np.unique([*edges, *rng.integers(0, case.context, ROWS)])
    exact = attend(case, _float64(q[rows]), _float64(k).swapaxes(0, 1), _float64(v).swapaxes(0, 1), rows)
    return Sample(rows, exact)


def compare(sample: Sample, output: jax.Array) -> Accuracy:
    """The sampled rows of the last layer's output; every element of it must be a number."""
    got, exact = _float64(output[sample.rows]), sample.exact
    norm = np.linalg.norm(exact)
    error = float(np.linalg.norm(got - exact) / norm)
    rounded = np.asarray(exact.astype(jnp.bfloat16), np.float64)
    problem = "" if error <= LIMIT else f"relative error {error:.1e} is above {LIMIT:.0e}"
    if not bool(jnp.isfinite(output).all()):
        problem = "elements of the output are not finite"
    return Accuracy(error, float(np.linalg.norm(rounded - exact) / norm), problem)


def attend(
    case: Case, q: np.ndarray, keys: np.ndarray, values: np.ndarray, positions: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Causal softmax attention in float64. q [n, hq, d], keys and values [hkv, length, d] -> [n, hq, d]."""
    groups = q.reshape(len(q), case.kv_heads, -1, case.head_dim)
    logits = case.score.scale * np.einsum("ngrd,gkd->ngrk", groups, keys, optimize=True)
    hidden = np.arange(keys.shape[1]) > np.asarray(positions)[:, None]
    logits = np.where(hidden[:, None, None], -np.inf, logits)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("ngrk,gkd->ngrd", weights / weights.sum(-1, keepdims=True), values, optimize=True).reshape(q.shape)


def _held(case: Case, layout: PoolLayout, arrays: Arrays, layer: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values of a decoding sequence, float64 [hkv, length, d]: those in its pages, then the new ones."""
    ids = arrays.sequences.page_table[row, : case.pages]
    kv = _float64(layout.split(arrays.pool[layer, ids], case.head_dim))  # [pages, 2, hkv, slot, d]
    kv = kv.transpose(1, 2, 0, 3, 4).reshape(2, case.kv_heads, -1, case.head_dim)[:, :, : case.length]
    kv[:, :, -1] = [_float64(new[row]) for new in arrays.new[layer][1:]]
    return kv[0], kv[1]


def _float64(x: jax.Array) -> np.ndarray:
    return np.array(x.astype(jnp.float32), np.float64)
