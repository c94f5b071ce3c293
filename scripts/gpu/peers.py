"""The same attention by cuDNN, through jax.nn, and by torch: keys and values contiguous, which pages are not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gpu.attention import more_cases
from gpu.attention_cases import CASES, QUICK_CASES, Case
from gpu.task import Setup, Skip, Task
from gpu.timing import measure

NAMES = ("decode 64 x 8k", "prefill 4k", "decode 64 x 1k", "prefill 1k", "prefill 8k", "prefill 2k", "decode 1 x 32k")


def more_cases_and_peers(setup: Setup) -> list[Task]:
    """The peers come last: they compile for long and take memory that is not JAX's."""
    return [*more_cases(setup), *tasks(setup)]


def tasks(setup: Setup) -> list[Task]:
    cases = {case.name: case for case in CASES}
    chosen = QUICK_CASES[:1] if setup.quick else [cases[name] for name in NAMES]
    return [
        Task(f"{name}: {case.name}", partial(peer, case))
        for case in chosen
        for name, peer in (("cuDNN", cudnn), ("torch", torch_sdpa))
    ]


def cudnn(case: Case) -> dict[str, Any]:
    """jax.nn.dot_product_attention(implementation="cudnn") over as many layers as the case has."""
    if jax.default_backend() != "gpu":
        raise Skip("cuDNN needs an NVIDIA GPU")
    decode = bool(case.decodes)
    length = jnp.full(len(case.lengths), sum(case.lengths[0]), jnp.int32)

    def layer(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        lengths = {"key_value_seq_lengths": length} if decode else {}
        return jax.nn.dot_product_attention(
            q, k, v, scale=case.spec.score.scale, is_causal=not decode, implementation="cudnn", **lengths
        )

    layers = [
        tuple(jax.random.normal(part, shape, jnp.bfloat16) for part, shape in zip(keys, _shapes(case), strict=True))
        for keys in jax.random.split(jax.random.key(0), (case.layers, 3))
    ]
    compiled = jax.jit(lambda layers: [layer(*one) for one in layers]).lower(layers).compile()
    return {"ms": measure(lambda _: compiled(layers), None).median * 1e3 / case.layers}


def torch_sdpa(case: Case) -> dict[str, Any]:
    """torch.nn.functional.scaled_dot_product_attention with grouped heads."""
    if importlib.util.find_spec("torch") is None:
        raise Skip("torch is not installed")
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if not torch.cuda.is_available():
        raise Skip("torch has no GPU")
    shapes = [(batch, heads, length, dim) for batch, length, heads, dim in _shapes(case)]
    layers = [
        tuple(torch.randn(shape, dtype=torch.bfloat16, device="cuda") for shape in shapes) for _ in range(case.layers)
    ]

    def run(_: object) -> None:
        for one in layers:
            scaled_dot_product_attention(*one, is_causal=not case.decodes, scale=case.spec.score.scale, enable_gqa=True)

    wait: Callable[[object], None] = lambda _: torch.cuda.synchronize()  # noqa: E731
    try:
        with torch.inference_mode():
            return {"ms": measure(run, None, wait).median * 1e3 / case.layers}
    finally:
        del layers
        torch.cuda.empty_cache()


def _shapes(case: Case) -> list[tuple[int, int, int, int]]:
    """Of q, k, v: [batch, length, heads, head_dim]."""
    batch, length, spec = len(case.lengths), sum(case.lengths[0]), case.spec
    kv = (batch, length, spec.kv_heads, spec.head_dim)
    return [(batch, 1 if case.decodes else length, spec.q_heads, spec.head_dim), kv, kv]
