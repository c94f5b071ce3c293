"""What attention may have beside projections and positions, against loops in numpy, for every layout of the heads."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.layers.attention import Attention, dense_attend
from jaxpaged.layers.context import Place, TokenContext
from jaxpaged.models import spec

HEADS, KV_HEADS, DIM, HIDDEN, TOKENS = 4, 2, 8, 12, 11
EPS = 1e-5
ALL = spec.Attention(
    HEADS,
    KV_HEADS,
    DIM,
    scale=0.3,
    late_qk_norm=spec.RMSNorm(EPS, weight=False),
    sinks=True,
    gated=True,
    chunk=4,
    temperature=spec.Temperature(period=3, scale=0.7, offset=1),
)
WITHOUT = {
    "late_qk_norm": replace(ALL, late_qk_norm=None),
    "sinks": replace(ALL, sinks=False),
    "gated": replace(ALL, gated=False),
    "chunk": replace(ALL, chunk=None),
    "temperature": replace(ALL, temperature=None),
}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((TOKENS, HIDDEN)).astype(np.float32)
MATRICES = {
    name: RNG.standard_normal((heads * DIM, HIDDEN)).astype(np.float32)
    for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS), ("gate", HEADS))
}
OUT = RNG.standard_normal((HIDDEN, HEADS * DIM)).astype(np.float32)
SINKS = RNG.standard_normal(HEADS).astype(np.float32)


def computed(part: spec.Attention, tensor_parallel: int) -> np.ndarray:
    layer = Attention(part, HIDDEN, tensor_parallel, jnp.float32)
    given = [(layer.qkv, MATRICES), (layer.out, {"whole": OUT}), (layer.sinks, {"whole": SINKS})]
    for parameter, parts in given:
        if parameter is not None:
            form = parameter.get_metadata()["form"]
            parameter.set_value(form.store({name: jnp.asarray(parts[name]) for name in form.parts()}))
    positions = jnp.arange(TOKENS, dtype=jnp.int32)
    tokens, place = TokenContext({}, positions), Place(0, jnp.int32(0))
    return np.asarray(layer(jnp.asarray(X), tokens, dense_attend(positions), None, place)[0])


def expected(part: spec.Attention) -> np.ndarray:
    q, k, v, gate = ((X @ MATRICES[name].T).reshape(TOKENS, -1, DIM) for name in ("q", "k", "v", "gate"))
    if part.late_qk_norm is not None:
        q, k = (x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) for x in (q, k))
    if (growth := part.temperature) is not None:
        periods = np.floor((np.arange(TOKENS) + growth.offset) / growth.period)
        q = q * (1 + growth.scale * np.log(1 + periods))[:, None, None]
    attended = np.zeros((TOKENS, HEADS, DIM))
    for t in range(TOKENS):
        first = 0 if part.chunk is None else t - t % part.chunk
        for head in range(HEADS):
            own = head * KV_HEADS // HEADS
            weights = np.exp(part.scale * k[first : t + 1, own] @ q[t, head])
            total = weights.sum() + (np.exp(SINKS[head]) if part.sinks else 0)
            attended[t, head] = weights @ v[first : t + 1, own] / total
    if part.gated:
        attended = attended / (1 + np.exp(-gate))
    return attended.reshape(TOKENS, -1) @ OUT.T


@pytest.mark.parametrize("tensor_parallel", [1, 8])
def test_all_parts_at_once(tensor_parallel: int) -> None:
    np.testing.assert_allclose(computed(ALL, tensor_parallel), expected(ALL), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WITHOUT)
def test_each_part_does_something(name: str) -> None:
    got = computed(WITHOUT[name], 1)
    np.testing.assert_allclose(got, expected(WITHOUT[name]), rtol=1e-3, atol=1e-4)
    assert np.abs(got - expected(ALL)).max() > 0.1


def test_a_chunk_bounds_what_is_kept() -> None:
    """Nothing beyond a chunk is seen, so no more needs to be kept; a chunk as long as the context is none."""
    assert replace(ALL, window=None).cache(1).window == 4
    assert replace(ALL, window=3).cache(1).window == 3
    assert ALL.served_at(4) == replace(ALL, chunk=None)
