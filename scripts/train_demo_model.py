"""Trains the bundled demo model (jaxpaged/assets/demo) from nothing, on text that demo_model/tasks.py makes up.

    .venv/bin/python scripts/train_demo_model.py [--out DIR] [--seed N]

The model runs through jaxpaged's own Decoder, with attention that keeps no cache, under jax.grad; optax's Muon updates
the matrices and its Adam the rest, in float32. The result is written as a Hugging Face directory in bfloat16 together
with its tokenizer and a model card that holds the accuracy of the written weights on the held-out tenth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32
from optax.contrib import MuonDimensionNumbers, muon
from tokenizers import Tokenizer
from tqdm import tqdm

from demo_model.exam import accuracy_table, make_logits, model_card
from demo_model.files import CONFIG, save_model, save_tokenizer, train_tokenizer
from demo_model.rows import Phase, batches
from jaxpaged.decoder.functional import FunctionalDecoder, Leaves, build_decoder
from jaxpaged.decoder.parameters import Weight
from jaxpaged.models.registry import spec_from_config

OUT = Path(__file__).resolve().parents[1] / "jaxpaged" / "assets" / "demo"


# Longer rows come late, when the tasks are learnt.
PHASES = (Phase(1900, 64, 128), Phase(100, 16, 512), Phase(50, 4, 2048))


def initial_leaves(decoder: FunctionalDecoder, key: Array) -> Leaves:
    """Norms start at one, matrices small; those that write into the residual stream smaller by its depth."""
    leaves = []
    for weight, info, k in zip(
        decoder.weights, decoder.params, jax.random.split(key, len(decoder.params)), strict=True
    ):
        if weight.parameter.inputs or weight.target == "embedding.table":
            residual = weight.target.endswith(("mixer.out", "ffn.down"))
            std = 0.02 / (2 * len(decoder.spec.layers)) ** 0.5 if residual else 0.02
            leaves.append(std * jax.random.normal(k, info.shape, jnp.float32))
        else:
            leaves.append(jnp.ones(info.shape, jnp.float32))
    return tuple(leaves)


def muon_dimensions(weight: Weight) -> MuonDimensionNumbers | None:
    """Which axes of the stacked leaf are a matrix's inputs and outputs; None for what Adam updates."""
    if not (weight.parameter.inputs and weight.layers):
        return None
    first_input = 1 + len(weight.parameter.shape) - weight.parameter.inputs
    return MuonDimensionNumbers(
        tuple(range(first_input, 1 + len(weight.parameter.shape))), tuple(range(1, first_input))
    )


def make_optimizer(decoder: FunctionalDecoder, steps: int) -> optax.GradientTransformation:
    """Muon on the layers' matrices, Adam on the embedding and the norms; one learning rate suits both."""
    update = muon(
        optax.warmup_cosine_decay_schedule(0.0, 5e-3, 100, steps, 1e-4),
        weight_decay=0.05,
        adam_b2=0.98,
        muon_weight_dimension_numbers=tuple(map(muon_dimensions, decoder.weights)),
        consistent_rms=0.2,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), update)


def train(
    decoder: FunctionalDecoder, tokenizer: Tokenizer, rng: Random, checkpoint: Callable[[Leaves], None]
) -> Leaves:
    """All phases; `checkpoint` sees the leaves every tenth of the way, so that a broken run leaves something."""
    total = sum(phase.steps for phase in PHASES)
    logits = make_logits(decoder)
    optimizer = make_optimizer(decoder, total)

    def loss(leaves: Leaves, tokens: Int32[Array, "b t1"], weights: Float32[Array, "b t1"]) -> Float32[Array, ""]:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(leaves, tokens[:, :-1]), tokens[:, 1:])
        return jnp.sum(losses * weights[:, 1:]) / jnp.sum(weights[:, 1:])

    @jax.jit(donate_argnums=(0, 1))
    def step(leaves, state, tokens, weights):
        value, gradient = jax.value_and_grad(loss)(leaves, tokens, weights)
        updates, state = optimizer.update(gradient, state, leaves)
        return optax.apply_updates(leaves, updates), state, value

    leaves = initial_leaves(decoder, jax.random.key(rng.randrange(2**32)))
    state = optimizer.init(leaves)
    progress = tqdm(batches(PHASES, tokenizer, rng), total=total, desc="Training", unit="step")
    for i, (tokens, weights) in enumerate(progress, start=1):
        leaves, state, value = step(leaves, state, tokens, weights)
        if i % 10 == 0:
            progress.set_postfix(loss=f"{float(value):.4f}")
        if i % (total // 10) == 0:
            checkpoint(leaves)
    return leaves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write (default: the package's assets)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start, rng = time.monotonic(), Random(args.seed)

    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(rng)
    save_tokenizer(tokenizer, args.out)
    spec = spec_from_config(CONFIG)
    decoder = build_decoder(spec, dtype=jnp.float32)
    leaves = train(decoder, tokenizer, rng, lambda leaves: save_model(decoder, leaves, args.out))
    save_model(decoder, leaves, args.out)

    served = build_decoder(spec, dtype=jnp.bfloat16)
    table = accuracy_table(served, tuple(leaf.astype(jnp.bfloat16) for leaf in leaves), tokenizer)
    card = model_card(
        table,
        parameters=sum(leaf.size for leaf in leaves),
        tokens=sum(phase.steps * phase.rows * phase.length for phase in PHASES),
        minutes=(time.monotonic() - start) / 60,
        processor_minutes=time.process_time() / 60,
        seed=args.seed,
    )
    (args.out / "README.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
