"""The same attention by cuDNN, through jax.nn, and by torch: keys and values contiguous, which pages are not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from gpu.attention_cases import Case
from gpu.timing import Time, measure


@dataclass(frozen=True)
class Peer:
    """Its time for one layer, or why there is none."""

    time: Time | None
    reason: str = ""


def cudnn(case: Case) -> Peer:
    """jax.nn.dot_product_attention(implementation="cudnn") over as many layers as the case has."""
    if jax.default_backend() != "gpu":
        return Peer(None, "cuDNN needs an NVIDIA GPU")
    length = jnp.full(case.sequences, case.length, jnp.int32)

    def layer(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        lengths = {"key_value_seq_lengths": length} if case.decode else {}
        return jax.nn.dot_product_attention(
            q, k, v, scale=case.score.scale, is_causal=not case.decode, implementation="cudnn", **lengths
        )

    key = jax.random.key(0)
    layers = [
        tuple(jax.random.normal(part, shape, jnp.bfloat16) for part, shape in zip(keys, _shapes(case), strict=True))
        for keys in jax.random.split(key, (case.layers, 3))
    ]
    try:
        compiled = jax.jit(lambda layers: [layer(*one) for one in layers]).lower(layers).compile()
        return Peer(_per_layer(measure(lambda _: compiled(layers), None), case.layers))
    except (RuntimeError, ValueError, NotImplementedError) as error:  # JaxRuntimeError is a RuntimeError
        return Peer(None, f"cuDNN refused it: {_first_line(error)}")


def torch_sdpa(case: Case) -> Peer:
    """torch.nn.functional.scaled_dot_product_attention with grouped heads."""
    if importlib.util.find_spec("torch") is None:
        return Peer(None, "torch is not installed")
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if not torch.cuda.is_available():
        return Peer(None, "torch has no GPU")
    shapes = [(batch, heads, length, dim) for batch, length, heads, dim in _shapes(case)]
    try:
        layers = [
            tuple(torch.randn(shape, dtype=torch.bfloat16, device="cuda") for shape in shapes)
            for _ in range(case.layers)
        ]

        def run(_: object) -> None:
            for one in layers:
                scaled_dot_product_attention(*one, is_causal=not case.decode, scale=case.score.scale, enable_gqa=True)

        wait: Callable[[object], None] = lambda _: torch.cuda.synchronize()  # noqa: E731
        with torch.inference_mode():
            return Peer(_per_layer(measure(run, None, wait), case.layers))
    except RuntimeError as error:
        return Peer(None, f"torch refused it: {_first_line(error)}")
    finally:
        layers = []
        torch.cuda.empty_cache()


def _shapes(case: Case) -> list[tuple[int, int, int, int]]:
    """Of q, k, v: [batch, length, heads, head_dim]."""
    queries = 1 if case.decode else case.context
    kv = (case.sequences, case.length, case.kv_heads, case.head_dim)
    return [(case.sequences, queries, case.q_heads, case.head_dim), kv, kv]


def _per_layer(time: Time, layers: int) -> Time:
    return Time(time.median / layers, time.best / layers, time.worst / layers, time.host / layers)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
