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


# Of an H100 or H200: multiprocessors, bytes of shared memory of each, of which every block loses `RESERVED`.
MULTIPROCESSORS, MULTIPROCESSOR_MEMORY, RESERVED = 132, 228 << 10, 1 << 10
THREADS = 128  # of a warpgroup


@dataclass(frozen=True)
class DecodeConfig:
    """Sizes of the Hopper decode kernel.

    split: keys that one work item attends to, counted from token 0. max_splits: in a longer context (the page table's
        width, not a sequence's length) the split grows instead. Both, and the tile, are part of the numerics.
    tile: keys of one online-softmax step. ring: bytes of tiles in flight of a block, min_stages tiles at least.
    blocks: persistent blocks; None: for each multiprocessor of an H100 or H200 two, or one where two do not fit.
    """

    split: int = 512
    max_splits: int = 32
    tile: int = 64
    ring: int = 96 << 10
    min_stages: int = 3
    blocks: int | None = None

    def keys_per_split(self, context: int) -> int:
        """Keys of a split where a row of the page table holds `context` tokens: a multiple of the tile."""
        return max(self.split, -(-context // (self.max_splits * self.tile)) * self.tile)

    def stages(self, tile_size: int, itemsize: int, stored_itemsize: int) -> int:
        """Tiles of `tile_size` keys' and as many values' elements that fit, beside a widened one where it takes one."""
        wide = 2 * tile_size * itemsize if stored_itemsize < itemsize else 0
        return max(self.min_stages, (self.ring - wide) // (2 * tile_size * stored_itemsize))

    def shared_memory(self, columns: int, head_dim: int, itemsize: int, stored_itemsize: int) -> int:
        """Bytes of a block's buffers: queries of two items, weights, outputs, the ring, a widened tile; barriers."""
        tile_size = self.tile * head_dim
        held = columns * ((2 * head_dim + self.tile) * itemsize + (head_dim + 2) * 4)
        wide = 2 * tile_size * itemsize if stored_itemsize < itemsize else 0
        ring = self.stages(tile_size, itemsize, stored_itemsize) * 2 * tile_size * stored_itemsize
        return held + ring + wide + (1 << 10)

    def blocks_for(self, columns: int, head_dim: int, itemsize: int, stored_itemsize: int) -> int:
        """Persistent blocks that run at once: a second block a multiprocessor must find memory and registers."""
        if self.blocks is not None:
            return self.blocks
        # Of a thread: sums of values, new ones too, and scores, their exponentials and sums; ptxas agrees within 20.
        registers = 50 + columns * (2 * head_dim + 3 * self.tile) // THREADS
        held = self.shared_memory(columns, head_dim, itemsize, stored_itemsize)
        two = held + RESERVED <= MULTIPROCESSOR_MEMORY // 2 and registers <= 128
        return MULTIPROCESSORS * (2 if two else 1)


@dataclass(frozen=True)
class ChunkConfig:
    """Sizes of the Hopper kernel for chunks.

    tile: keys of one online-softmax step, part of the numerics; wide_tile: the same for heads of more than 128, which
        fill shared memory sooner. Both are powers of two of at least 64.
    shared_memory: bytes that queries, weights and the ring may take; the ring has as many tiles as fit, at most
        max_stages.
    blocks: persistent blocks, one for each multiprocessor of an H100 or H200.
    weights_in_registers: the second product takes its left operand from there and adds to the old sums, which leaves
        room for a third stage of 128 keys. Faster on paper, but GPU interpret mode cannot run it; off until a run on a
        device has proved the results equal.
    """

    tile: int = 128
    wide_tile: int = 64
    shared_memory: int = 224 << 10
    max_stages: int = 4
    blocks: int = 132
    weights_in_registers: bool = False

    def __post_init__(self) -> None:
        for name, tile in {"tile": self.tile, "wide_tile": self.wide_tile}.items():
            if tile < 64 or tile & (tile - 1):
                raise ValueError(f"{name}: {tile} is no power of two of at least 64, the columns swizzled together.")

    def keys_per_tile(self, head_dim: int) -> int:
        return self.tile if head_dim <= 128 else self.wide_tile

    def stages(self, rows: int, head_dim: int, itemsize: int, stored_itemsize: int) -> int:
        """Tiles of keys and values that fit beside the queries and weights of `rows` rows.

        A tile that is stored in fewer bytes takes room once more, as it arrives.
        """
        tile = self.keys_per_tile(head_dim)
        left = self.shared_memory - rows * (head_dim + (0 if self.weights_in_registers else tile)) * itemsize
        left -= 2 * tile * head_dim * stored_itemsize if stored_itemsize < itemsize else 0
        stages = min(self.max_stages, left // (2 * tile * head_dim * itemsize))
        if stages < 1:
            raise NotImplementedError(f"a tile of {tile} keys with heads of {head_dim} does not fit shared memory")
        return stages
