"""Sampled rows of a layer's output against attention in float64, before anything is timed."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from gpu.attention_arrays import Arrays
from gpu.attention_cases import Case
from pallas_kernels.paged_attention import PoolLayout

SEQUENCES = 3  # decodes that are looked at, all heads
ROWS = 24  # of a chunk that are looked at, all heads
LIMIT = 1e-2  # of |output - exact| / |exact|: bfloat16 operands lie between 1e-3 and this
FLOAT8_LIMIT = 6e-2  # where XLA multiplies float8 with weights rounded as it is; Hopper's kernels keep to LIMIT


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
    starts = np.cumsum([0, *(new for _, new in case.lengths)])
    decodes = rng.choice(case.decodes, min(SEQUENCES, case.decodes), replace=False)
    rows, exact = [], []
    for sequence in [*decodes.tolist(), *range(case.decodes, len(case.lengths))]:
        old, new = case.lengths[sequence]
        edges = [0, min(1, new - 1), new // 2, new - 1]
        chosen = np.unique([*edges, *rng.integers(0, new, ROWS)])
        keys, values = _held(case, layout, arrays, sequence, int(starts[sequence]))
        queries = _float64(arrays.new[-1][0][starts[sequence] + chosen])
        rows.append(starts[sequence] + chosen)
        exact.append(attend(case, queries, keys, values, old + chosen))
    return Sample(np.concatenate(rows), np.concatenate(exact))


def compare(sample: Sample, output: jax.Array, limit: float = LIMIT) -> Accuracy:
    """The sampled rows of the last layer's output; every element of it must be a number."""
    got, exact = _float64(output[sample.rows]), sample.exact
    norm = np.linalg.norm(exact)
    error = float(np.linalg.norm(got - exact) / norm)
    rounded = np.asarray(exact.astype(jnp.bfloat16), np.float64)
    problem = "" if error <= limit else f"relative error {error:.1e} is above {limit:.0e}"
    if not bool(jnp.isfinite(output).all()):
        problem = "elements of the output are not finite"
    return Accuracy(error, float(np.linalg.norm(rounded - exact) / norm), problem)


def attend(case: Case, q: np.ndarray, keys: np.ndarray, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Causal softmax attention in float64. q [n, hq, d], keys and values [hkv, length, d] -> [n, hq, d]."""
    spec = case.spec
    groups = q.reshape(len(q), spec.kv_heads, -1, spec.head_dim)
    logits = spec.score.scale * np.einsum("ngrd,gkd->ngrk", groups, keys, optimize=True)
    logits = logits.reshape(len(q), spec.q_heads, -1)
    if spec.soft_cap is not None:
        logits = spec.soft_cap * np.tanh(logits / spec.soft_cap)
    distance = np.asarray(positions)[:, None] - np.arange(keys.shape[1])
    if spec.alibi:
        logits = logits - 0.5 ** np.linspace(1, 8, spec.q_heads)[None, :, None] * distance[:, None]
    seen = (distance >= 0) & (distance < (spec.window or keys.shape[1] + 1))
    logits = np.where(seen[:, None], logits, -np.inf)
    sinks = np.linspace(-2.0, 4.0, spec.q_heads) if spec.sinks else np.full(spec.q_heads, -np.inf)
    top = np.maximum(logits.max(-1), sinks)
    weights = np.exp(logits - top[..., None])
    total = weights.sum(-1) + np.exp(sinks - top)
    weights = (weights / total[..., None]).reshape(len(q), spec.kv_heads, -1, keys.shape[1])
    return np.einsum("ngrk,gkd->ngrd", weights, values, optimize=True).reshape(q.shape)


def _held(case: Case, layout: PoolLayout, arrays: Arrays, sequence: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values of a sequence, float64 [hkv, length, d]: those in its pages, then the new ones, as stored."""
    old, new = case.lengths[sequence]
    spec = case.spec
    fresh = [x[start : start + new].astype(case.stored) for x in arrays.new[-1][1:]]
    parts = [_float64(x).swapaxes(0, 1) for x in fresh]
    if old:
        ids = arrays.sequences.page_table[sequence, : -(-old // spec.page_size)]
        kv = _float64(layout.split(arrays.pool[case.layers - 1, ids], spec.head_dim))  # [pages, 2, hkv, slot, d]
        kv = kv.transpose(1, 2, 0, 3, 4).reshape(2, spec.kv_heads, -1, spec.head_dim)[:, :, :old]
        parts = [np.concatenate(pair, axis=1) for pair in zip(kv, parts, strict=True)]
    return parts[0], parts[1]


def _float64(x: jax.Array) -> np.ndarray:
    return np.array(x.astype(jnp.float32), np.float64)
