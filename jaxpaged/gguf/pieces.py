"""SentencePiece's pieces: how spaces are written in them, and of which others each may be put together."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from tokenizers import decoders

SPACE = "\u2581"
LONGEST_MERGED = 512  # characters of a piece that is put together from two; the work grows with their square


def merges_of(pieces: Iterable[str], known: Container[str]) -> Iterator[tuple[str, str]]:
    """Every way to put one of `pieces` together from two that are `known`."""
    for piece in pieces:
        for cut in range(1, len(piece) if len(piece) <= LONGEST_MERGED else 1):
            if piece[:cut] in known and piece[cut:] in known:
                yield piece[:cut], piece[cut:]


def piece_decoder(*, prefixed: bool) -> decoders.Decoder:
    """Pieces to text; `prefixed`: a space was put before it, which goes again."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefixed else steps)
