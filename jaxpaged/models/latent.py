"""Latent attention as data (multi-head latent attention, arXiv 2405.04434)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged.kv.kind import CacheKind
from jaxpaged.kv.latent import LatentSpec
from jaxpaged.models.rope import Rope, check_rope
from jaxpaged.models.spec import Norm, Temperature


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Keys and values of all heads are made of one latent of `kv_rank` per token; `rope_dim` lanes beside it are a key
    part that all heads share.

    A head's query and key have `nope_dim` lanes from the latent, then `rope_dim` lanes that `position` rotates (None:
    they pass). q_rank: queries are made of a latent of their own; None: of the hidden row. scale: multiplies q.k, with
    YaRN's magnitude in it. bias: of the projections to both latents, and of the output.
    """

    heads: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    scale: float
    kv_norm: Norm | None
    q_rank: int | None = None
    q_norm: Norm | None = None
    position: Rope | None = None
    bias: bool = False
    temperature: Temperature | None = None

    @property
    def key_dim(self) -> int:
        """Lanes of a head's query and key."""
        return self.nope_dim + self.rope_dim

    @property
    def row(self) -> int:
        """Lanes that are kept of a token."""
        return self.kv_rank + self.rope_dim

    @property
    def ropes(self) -> tuple[Rope, ...]:
        return () if self.position is None else (self.position,)

    def cache(self, tensor_parallel: int) -> CacheKind:
        """One row per token for all heads, on every device."""
        return LatentSpec(self.row)

    def served_at(self, max_position: int) -> LatentAttention:
        return self

    def check(self) -> None:
        for rope in self.ropes:
            check_rope(rope, self.rope_dim)
