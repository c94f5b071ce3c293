"""Checkpoints whose experts are MXFP4 (OCP microscaling), as gpt-oss is published: dequantized while they are read.

`X_blocks` [..., out, blocks, 16] holds two 4-bit floats a byte, the first in the low half, and `X_scales` [..., out,
blocks] the exponent, less BIAS, of each 32 of them. Together they stand for the plain tensor `X` [..., in, out].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jaxpaged.weights.checkpoint import CheckpointReader
from jaxpaged.weights.headers import TensorEntry

BLOCKS, SCALES = "_blocks", "_scales"
IN_BLOCK, BIAS = 32, 127
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of a 4-bit float's lower three bits; the highest is the sign


@dataclass(frozen=True)
class Mxfp4Reader:
    """What `reader` has, with plain tensors in place of packed pairs."""

    reader: CheckpointReader
    entries: Mapping[str, TensorEntry]

    @classmethod
    def over(cls, reader: CheckpointReader) -> Mxfp4Reader:
        return cls(reader, plain_entries(reader.entries))

    def read(self, names: Sequence[str]) -> dict[str, jax.Array]:
        """These tensors, their first axis over `model` where it divides. Raises WeightError."""
        packed = [name for name in names if name not in self.reader.entries]
        plain = [name for name in names if name in self.reader.entries]
        read = self.reader.read([*plain, *(name + half for name in packed for half in (BLOCKS, SCALES))])
        made = {name: dequantize(read[name + BLOCKS], read[name + SCALES]) for name in packed}
        return {name: read[name] for name in plain} | made


def plain_entries(entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """What the files hold, with the plain tensor in place of each packed pair."""
    blocks = (name.removesuffix(BLOCKS) for name in entries if name.endswith(BLOCKS))
    packed = [name for name in blocks if name + SCALES in entries]
    halves = {name + half for name in packed for half in (BLOCKS, SCALES)}
    kept = {name: entry for name, entry in entries.items() if name not in halves}
    return kept | {name: _plain(entries[name + BLOCKS]) for name in packed}


def _plain(blocks: TensorEntry) -> TensorEntry:
    *lead, rows, count, _ = blocks.shape
    return replace(blocks, shape=(*lead, count * IN_BLOCK, rows), dtype=np.dtype(ml_dtypes.bfloat16))


@jax.jit
def dequantize(blocks: jax.Array, scales: jax.Array) -> jax.Array:
    """[..., out, blocks, 16] and [..., out, blocks], uint8 -> bfloat16 [..., in, out], which holds every value."""
    codes = jnp.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], IN_BLOCK)
    values = jnp.asarray((*VALUES, *(-value for value in VALUES)), jnp.bfloat16)[codes]
    exponents = scales.astype(jnp.int32) - BIAS
    scaled = jnp.ldexp(values.astype(jnp.float32), exponents[..., None]).astype(jnp.bfloat16)
    return scaled.reshape(*scales.shape[:-1], -1).swapaxes(-1, -2)
