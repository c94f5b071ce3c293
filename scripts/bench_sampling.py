"""Time the sampler's variants on this machine: milliseconds per call, median and best.

python scripts/bench_sampling.py [--rows 64] [--vocab 49152] [--repeat 30]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpaged.sampling.sampler import Sampler, StageContext
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams

CASES: dict[str, tuple[Variant, Mapping[str, Any]]] = {
    "greedy": (Variant.GREEDY, {"temperature": 0}),
    "plain: temperature": (Variant.PLAIN, {"temperature": 0.8}),
    "plain: top_k 50": (Variant.PLAIN, {"top_k": 50}),
    "plain: top_k 1000": (Variant.PLAIN, {"top_k": 1000}),
    "plain: top_p 0.95": (Variant.PLAIN, {"top_p": 0.95}),
    "plain: top_k 50, top_p 0.95": (Variant.PLAIN, {"top_k": 50, "top_p": 0.95}),
    "plain: min_p 0.05": (Variant.PLAIN, {"min_p": 0.05}),
    "full: penalties": (Variant.FULL, {"frequency_penalty": 0.5, "repetition_penalty": 1.1}),
    "full: everything": (
        Variant.FULL,
        {
            "top_k": 50,
            "top_p": 0.95,
            "presence_penalty": 0.5,
            "repetition_penalty": 1.1,
            "logit_bias": dict.fromkeys(range(100), 1.0),
            "allowed_token_ids": list(range(1000)),
            "min_tokens": 10_000,
            "max_tokens": None,
            "stop_token_ids": [1, 2],
            "_bad_words_token_ids": [[5, 6], [7]],
        },
    ),
    "logprobs: 20": (Variant.LOGPROBS, {"logprobs": 20}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=49_152)
    parser.add_argument("--history", type=int, default=2_048)
    parser.add_argument("--repeat", type=int, default=30)
    args = parser.parse_args()
    print(f"{args.rows} rows x {args.vocab} on {jax.devices()[0].device_kind}, milliseconds")
    print(f"{'case':32}{'logits':>8}{'median':>9}{'best':>9}")
    for name, (variant, fields) in CASES.items():
        for shape in ("peaked", "flat"):
            seconds = time_case(args, variant, SamplingParams(**fields), shape)
            print(f"{name:32}{shape:>8}{np.median(seconds) * 1e3:9.2f}{min(seconds) * 1e3:9.2f}", flush=True)


def time_case(args: argparse.Namespace, variant: Variant, params: SamplingParams, shape: str) -> list[float]:
    rng = np.random.default_rng(0)
    spread = 3.0 if shape == "peaked" else 1.0
    logits = rng.normal(size=(args.rows, args.vocab)).astype(np.float32) * spread
    if shape == "peaked":  # a model that is fairly sure of a few tokens
        np.put_along_axis(logits, rng.integers(0, args.vocab, (args.rows, 20)), 18.0 + rng.random((args.rows, 20)), 1)
    sampler = Sampler(args.vocab)
    encoded = [sampler.encode_row(params, args.history // 2, row) for row in range(args.rows)]
    rows = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *encoded)
    length = jnp.full(args.rows, args.history, jnp.int32)
    history = jnp.asarray(rng.integers(0, args.vocab, (args.rows, args.history)), jnp.int32)
    ctx = StageContext(history, length, length // 2)
    step = jax.jit(partial(sampler.sample, variant=variant))
    arguments = (jnp.asarray(logits), rows, ctx, length)
    jax.block_until_ready(step(*arguments))
    seconds = []
    for _ in range(args.repeat):
        start = time.perf_counter()
        jax.block_until_ready(step(*arguments))
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
