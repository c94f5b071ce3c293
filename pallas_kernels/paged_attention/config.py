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
        """Sequences of one decode step in a program of `tokens` tokens; few where one sequence may be all there is."""
        return 4 if tokens <= 8 else self.decode_tile

    def chunk_width(self, tokens: int) -> int:
        """Tiles of one step of a prefill chunk."""
        return min(self.chunk_tile, max(1, tokens // self.chunk_tokens))


@dataclass(frozen=True)
class TpuConfig:
    """Block sizes of the Mosaic TPU kernels.

    kv_block: most keys of one online-softmax step, block_bytes: most bytes of their rows, all heads together. Both are
        part of the numerics, so they follow from the layer's shape, never from the batch.
    buffers: blocks in the ring, one in use and the others on their way. query_rows: rows (group x tokens) of a head in
        a tile of a chunk; chunk_tokens: most tokens of such a tile; decode_tiles: sequences of one grid step.
    write_block: tokens of a chunk that are put into pages at once. *_head_unroll: heads that the compiler may
    interleave. vmem_limit: bytes of vector memory that a kernel may take.
    """

    kv_block: int = 512
    block_bytes: int = 2 << 20
    buffers: int = 3
    query_rows: int = 512
    chunk_tokens: int = 128
    decode_tiles: int = 8
    write_block: int = 128
    decode_head_unroll: int = 8
    chunk_head_unroll: int = 2
    vmem_limit: int = 48 << 20

    def block_tokens(self, page_size: int, token_bytes: int) -> int:
        """Keys of a block: a power of two, at least 128 and one page."""
        tokens = self.kv_block
        while tokens > max(128, page_size) and tokens * token_bytes > self.block_bytes:
            tokens //= 2
        return max(tokens, page_size)

    def tile_tokens(self, group: int) -> int:
        """Tokens of a tile of a chunk: a power of two, at least 16 (rows of a bfloat16 tile)."""
        tokens = self.chunk_tokens
        while tokens > 16 and tokens * group > self.query_rows:
            tokens //= 2
        return tokens
