"""What the parts of the portable path share: the arguments of the call."""

from __future__ import annotations

from typing import NamedTuple

import jax

from pallas_kernels.paged_attention.config import XlaConfig
from pallas_kernels.paged_attention.layout import PoolLayout
from pallas_kernels.paged_attention.score import ScoreMod
from pallas_kernels.paged_attention.sequences import Sequences


class Call(NamedTuple):
    """What every tile of a call shares: arrays, then static values."""

    q: jax.Array  # [t, hq, d]
    pool: jax.Array
    layer: jax.Array
    sequences: Sequences
    alibi_slopes: jax.Array | None
    sinks: jax.Array | None
    score: ScoreMod
    layout: PoolLayout
    config: XlaConfig
