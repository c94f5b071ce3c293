"""Compares any local checkpoint with transformers, live: logits of one sequence in float32.

    .venv/bin/python scripts/compare_hf.py DIRECTORY [--reference-python PYTHON] [--tokens N] [--seed S]

jaxpaged runs here; torch and transformers run in a process of their own, under PYTHON (default: this one), since few
environments hold both. Exit code 0 when max|d logit| <= 1e-4 max|logit| and every position chooses the same token.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOLERANCE = 1e-4


def reference(directory: Path, tokens: np.ndarray) -> np.ndarray:
    """transformers' float32 logits [t, vocab]."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(tokens)[None], use_cache=False).logits[0].numpy()


def ours(directory: Path, tokens: np.ndarray) -> np.ndarray:
    """The Decoder's float32 logits [t, vocab], without a cache."""
    import jax
    import jax.numpy as jnp

    from jaxpaged.decoder.functional import build_decoder
    from jaxpaged.hub.model_directory import read_config
    from jaxpaged.layers.attention import dense_attend
    from jaxpaged.models.registry import find_architecture, spec_from_config
    from jaxpaged.sharding.mesh import make_mesh
    from jaxpaged.weights.loader import load_weights

    config = read_config(directory)
    spec = spec_from_config(config)
    decoder = build_decoder(spec, dtype=jnp.float32)
    leaves = load_weights(directory, decoder, find_architecture(config).weights, make_mesh(1))

    @jax.jit
    def forward(leaves: tuple[jax.Array, ...], tokens: jax.Array) -> jax.Array:
        positions = jnp.arange(tokens.shape[0], dtype=jnp.int32)
        x = decoder.embed(leaves, tokens, positions)
        hidden, _ = decoder.hidden(leaves, x, positions, dense_attend(positions), None)
        return decoder.logits(leaves, hidden)

    return np.asarray(forward(leaves, jnp.asarray(tokens, jnp.int32)))[:, : spec.vocab_size]


def run_reference(python: str, directory: Path, tokens: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "tokens.npy", Path(folder) / "logits.npy"
        np.save(given, tokens)
        command = [python, __file__, str(directory), "--as-reference", str(given), str(answer)]
        subprocess.run(command, check=True)
        return np.load(answer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--reference-python", default=sys.executable, help="a Python that has torch and transformers")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-reference", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_reference:
        given, answer = args.as_reference
        np.save(answer, reference(args.directory, np.load(given)))
        return 0
    from jaxpaged.errors import ConfigError  # the reference's Python need not have it
    from jaxpaged.hub.model_directory import read_config

    try:
        vocab = read_config(args.directory)["vocab_size"]
        tokens = np.random.default_rng(args.seed).integers(0, vocab, args.tokens)
        found = ours(args.directory, tokens)
    except ConfigError as error:
        parser.error(str(error))
    expected = run_reference(args.reference_python, args.directory, tokens)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    agree = (found.argmax(-1) == expected.argmax(-1)).mean()
    print(f"max|d logit| / max|logit| = {error:.2e} (limit {TOLERANCE:.0e}); {agree:.1%} of positions choose alike")
    return 0 if error <= TOLERANCE and agree == 1.0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
