"""The work items of the Hopper kernel for chunks: which there are, in which order, who takes them; and their rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.paged_attention.config import ChunkConfig
from pallas_kernels.paged_attention.example_batches import Batch, make
from pallas_kernels.paged_attention.example_specs import BY_NAME
from pallas_kernels.paged_attention.layout import pool_layout
from pallas_kernels.paged_attention.mosaic_gpu.chunk_items import (
    chunk_items,
    chunk_rows,
    room_for,
    row_of_token,
    token_of_row,
)
from pallas_kernels.paged_attention.mosaic_gpu.chunk_refs import TILE_ROWS, Tiles, place, turns_of
from pallas_kernels.paged_attention.sequences import Sequences
from pallas_kernels.paged_attention.tokens import token_places

LLAMA_GROUP, LLAMA_HEADS, CONFIG = 4, 8, ChunkConfig()
MIXED = ((0, 1), (15, 1), (0, 33), (700, 30), (127, 3), (5, 40))


def sequences_of(lengths: tuple[tuple[int, int], ...], count: int) -> Sequences:
    return make(BY_NAME["mha_page8"], Batch(lengths, sequences=count), pool_layout("hopper")).sequences


def one_prompt(tokens: int) -> Sequences:
    arrays = np.zeros((1, 1)), [tokens], [0, tokens], [0, 0, 1]
    return Sequences(*(jnp.asarray(x, jnp.int32) for x in arrays))


def items_of(sequences: Sequences, tokens: int, group: int, window: int | None = None) -> Tiles:
    def find(sequences: Sequences) -> Tiles:
        return chunk_items(sequences, chunk_rows(sequences, group), tokens, group, window)

    tiles = jax.jit(find)(sequences)  # operation by operation it takes three times as long
    return Tiles(*(np.asarray(field)[: int(tiles.real[0])] for field in tiles))


def shares(total: int, blocks: int) -> list[np.ndarray]:
    """The items that each block takes, as the kernel works them out."""
    numbers, items = jnp.arange(blocks), jnp.int32(total)
    turns = np.asarray(jax.jit(jax.vmap(lambda block: turns_of(block, items, blocks)))(numbers))
    turn = jnp.arange(turns.max(), dtype=jnp.int32)
    at = jax.jit(jax.vmap(lambda block: place(block, turn, blocks)))(numbers)
    return [row[:count] + np.arange(count) * blocks for row, count in zip(np.asarray(at), turns, strict=True)]


@pytest.mark.parametrize(("total", "blocks"), [(0, 2), (1, 2), (2, 2), (3, 2), (7, 3), (264, 132), (1000, 132)])
def test_every_item_is_taken_exactly_once(total: int, blocks: int) -> None:
    assert sorted(np.concatenate(shares(total, blocks))) == list(range(total))


@pytest.mark.parametrize("tokens", [1024, 8192])
def test_blocks_have_equal_work_in_a_prompt_of_llama_8b(tokens: int) -> None:
    """In tiles of keys, which an item's time follows: the mean is at least 96 % of the most of any block."""
    tiles = items_of(one_prompt(tokens), tokens, LLAMA_GROUP)
    cost = np.repeat(-(-tiles.end // CONFIG.tile) - tiles.begin // CONFIG.tile, LLAMA_HEADS)
    work = np.array([cost[share].sum() for share in shares(len(cost), CONFIG.blocks)])
    assert work.sum() == cost.sum()
    assert work.mean() / work.max() >= 0.96


@pytest.mark.parametrize("window", [None, 50])
def test_items_are_all_tiles_of_chunks_longest_first(window: int | None) -> None:
    sequences, group = sequences_of(MIXED, 9), 5
    rows, tiles = chunk_rows(sequences, group), items_of(sequences, 120, group, window)
    wanted = {(s, offset) for s, (_, new) in enumerate(MIXED) if new > 1 for offset in range(0, new * group, TILE_ROWS)}
    assert {(s, start - int(rows.begin[s])) for s, start in zip(tiles.sequence, tiles.start, strict=True)} == wanted
    assert len(tiles.sequence) == len(wanted)
    assert (np.diff(tiles.end - tiles.begin) <= 0).all()
    for s, start, begin, end, whole in zip(
        tiles.sequence, tiles.start, tiles.begin, tiles.end, tiles.whole, strict=True
    ):
        old, new = MIXED[s]
        first = old + (start - int(rows.begin[s])) // group
        last = min(old + new - 1, old + (start - int(rows.begin[s]) + TILE_ROWS - 1) // group)
        assert (begin, end, whole) == (0 if window is None else max(0, first - window + 1), last + 1, first + 1)


def test_rows_and_tokens_name_each_other_and_padding_rows_stay_with_their_sequence() -> None:
    sequences, group, tokens = sequences_of(MIXED, 9), 5, 120
    rows, places = chunk_rows(sequences, group), token_places(tokens, sequences, 8)
    room = room_for(tokens, 9, group)
    row = np.asarray(row_of_token(sequences, rows, places, group, room))
    token, member = (np.asarray(x) for x in token_of_row(sequences, rows, tokens, group, room))
    in_chunk = np.arange(2, sum(new for _, new in MIXED))
    assert (token[row[in_chunk]] == in_chunk[:, None]).all()
    assert (member[row[in_chunk]] == np.arange(group)).all()
    for s, (begin, stop) in enumerate(zip(rows.begin, rows.stop, strict=True)):
        assert (np.asarray(places.sequence)[token[int(begin) : int(stop)]] == s).all()
    assert ((token >= 0) & (token < tokens) & (member >= 0) & (member < group)).all()
