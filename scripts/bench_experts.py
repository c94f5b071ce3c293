"""Time a mixture of experts beside a dense feed-forward part that multiplies a row by as many weights.

    python scripts/bench_experts.py [--rows 8 64] [--experts 16 --top-k 2 --size 512 --hidden 576 --layers 12]

Layers of each run one after the other in one program, as an engine's do; both programs in turn. It prints medians and
bests in milliseconds, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jaxpaged.layers.context import TokenContext
from jaxpaged.layers.experts import Experts
from jaxpaged.layers.mlp import GatedMLP
from jaxpaged.models import experts, spec

ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 64])
    for name, default in (("experts", 16), ("top-k", 2), ("size", 512), ("hidden", 576), ("layers", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    router = experts.Router(args.experts, args.top_k)
    mixture = partial(Experts, experts.Experts(router, args.size, "silu"))
    dense = partial(GatedMLP, spec.GatedMLP(args.size * args.top_k, "silu"))
    for rows in args.rows:
        x = jax.random.normal(jax.random.key(0), (rows, args.hidden), args.dtype)
        programs = [program(make, args, x) for make in (mixture, dense)]
        times = [[clock(each, x) for each in programs] for _ in range(ROUNDS)]
        report(rows, *zip(*times, strict=True))


def program(make: Callable[..., Any], args: argparse.Namespace, x: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """x -> x after all layers, compiled and run once; weights are random."""
    tokens = TokenContext({}, jnp.arange(len(x), dtype=jnp.int32))
    layers = [random_weights(make(args.hidden, 1, jnp.dtype(args.dtype)), i) for i in range(args.layers)]

    @jax.jit
    def run(layers: list[Any], x: jax.Array) -> jax.Array:
        for layer in layers:
            x = x + layer(x, tokens)
        return x

    compiled = run.lower(layers, x).compile()
    jax.block_until_ready(compiled(layers, x))
    return partial(compiled, layers)


def random_weights(layer: Any, seed: int) -> Any:
    """Each parameter with noise of its own."""

    def noise(index: int, value: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), index)
        return (0.05 * jax.random.normal(key, value.shape)).astype(value.dtype)

    leaves, tree = jax.tree.flatten(layer, is_leaf=lambda node: isinstance(node, nnx.Param))
    return jax.tree.unflatten(tree, [each.replace(noise(i, each.get_value())) for i, each in enumerate(leaves)])


def clock(run: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run(x))
    return 1e3 * (time.perf_counter() - start)


def report(rows: int, mixture: tuple[float, ...], dense: tuple[float, ...]) -> None:
    ratio = statistics.median(plain / mixed for mixed, plain in zip(mixture, dense, strict=True))
    print(
        f"{rows:4} rows: experts {statistics.median(mixture):7.2f} ms (best {min(mixture):.2f}), "
        f"dense {statistics.median(dense):7.2f} ms (best {min(dense):.2f}), dense / experts {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
