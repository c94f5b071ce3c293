"""Block sizes of paged attention: frozen values, chosen at trace time from static shapes alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class XlaConfig:
    """Block sizes of the portable path.

    kv_block: keys of one online-softmax step. It is part of the numerics: a row's result depends on it, so it may
        depend on the page size only, never on the batch.
    decode_tile: most sequences of one decode step. chunk_tokens: query tokens of a tile of a prefill chunk;
    chunk_tile: most such tiles of one step.

    One width of each per program: every further one costs about 0.8 s of compilation, and results do not depend on it.
    """

    kv_block: int = 128
    decode_tile: int = 16
    chunk_tokens: int = 32
    chunk_tile: int = 4

    def pages_per_block(self, page_size: int) -> int:
        return max(1, self.kv_block // page_size)

    def decode_width(self, tokens: int) -> int:
        """Sequences of one decode step in a program of `tokens` tokens: a quarter, so that padding stays small."""
        return min(self.decode_tile, max(4, tokens // 4))

    def chunk_width(self, tokens: int) -> int:
        """Tiles of one step of a prefill chunk."""
        return min(self.chunk_tile, max(1, tokens // self.chunk_tokens))
