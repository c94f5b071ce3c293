"""Block sizes of paged attention: frozen values, chosen at trace time from static shapes alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class XlaConfig:
    """Block sizes of the portable path.

    kv_block: keys of one online-softmax step. It is part of the numerics: a row's result depends on it, so it may
        depend on the page size only, never on the batch.
    decode_tiles: sequences of one decode step, widest first; what a wide tile leaves over goes to the next one.
    chunk_tokens, chunk_tiles: query tokens of a tile of a prefill chunk, tiles of one step (again widest first).
    """

    kv_block: int = 128
    decode_tiles: tuple[int, ...] = (32, 8, 2)
    chunk_tokens: int = 32
    chunk_tiles: tuple[int, ...] = (4, 1)

    def pages_per_block(self, page_size: int) -> int:
        return max(1, self.kv_block // page_size)
