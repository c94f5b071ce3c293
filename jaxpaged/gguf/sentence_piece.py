"""SentencePiece's BPE with bytes for what is no piece, as Llama 2, Mistral, Gemma and Phi-3 have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tokenizers import Tokenizer, models, normalizers

from jaxpaged.gguf.pieces import SPACE, merges_of, piece_decoder
from jaxpaged.gguf.vocabulary import NORMAL, UNKNOWN, USER_DEFINED, Vocabulary


def sentence_piece_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Without special tokens. Raises ConfigError."""
    vocabulary = _with_marked_spaces(vocabulary)
    unknown = vocabulary.of_kind(UNKNOWN)
    model = models.BPE(
        vocab=vocabulary.ids,
        merges=_merges(vocabulary),
        unk_token=unknown[0] if unknown else None,
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    prefix = bool(vocabulary.value("add_space_prefix", True))
    replaced = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replaced]) if prefix else replaced
    tokenizer.decoder = piece_decoder(prefixed=prefix)
    return tokenizer


def _with_marked_spaces(vocabulary: Vocabulary) -> Vocabulary:
    """Runs of spaces are stored as spaces, where pieces have marks."""
    tokens = [token.replace(" ", SPACE) if token.isspace() else token for token in vocabulary.tokens]
    return replace(vocabulary, tokens=tokens)


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the best pieces first."""
    rank = _ranks(vocabulary)
    pieces = {*vocabulary.of_kind(NORMAL), *vocabulary.of_kind(USER_DEFINED)}  # else "<s>" in a text would begin it
    return sorted(merges_of(pieces & rank.keys(), rank), key=lambda pair: (rank["".join(pair)], rank[pair[0]]))


def _ranks(vocabulary: Vocabulary) -> Mapping[str, tuple[float, int]]:
    """By score, then by id. Gemma's user-defined pieces have no score that says when they are put together."""
    scores, ids = vocabulary.scores, vocabulary.ids
    by_id = scores is None or USER_DEFINED in vocabulary.kinds
    return {piece: (0.0 if by_id or scores is None else -scores[id], id) for piece, id in ids.items()}
