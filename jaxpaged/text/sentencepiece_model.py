"""A SentencePiece model (tokenizer.model) as the same tokenizer of the `tokenizers` library.

transformers converts such files too, but leaves out the space that most models put before a text, and orders the merges
of spaces otherwise than SentencePiece does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from jaxpaged.gguf.pieces import SPACE, merges_of, piece_decoder

UNIGRAM, BPE = 1, 2
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4


def read_model(path: Path) -> Any | None:
    """The file's ModelProto; None where it is of another kind."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        return None
    whole = proto.pieces and proto.HasField("trainer_spec") and proto.HasField("normalizer_spec")
    spec = proto.trainer_spec
    return proto if whole and spec.model_type in (UNIGRAM, BPE) and not spec.treat_whitespace_as_suffix else None


def fast_tokenizer(proto: Any, *, spaces_everywhere: bool = True) -> Tokenizer:
    """The tokenizer that gives the ids of SentencePiece.

    spaces_everywhere: the space before a text also stands after each special token, not only at the very beginning.
    """
    tokenizer = Tokenizer(_model(proto))
    before = proto.normalizer_spec.add_dummy_prefix
    steps = _cleaning(proto.normalizer_spec)
    if before and spaces_everywhere:
        steps.append(normalizers.Prepend(SPACE))
    if before and not spaces_everywhere:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    steps.append(normalizers.Replace(" ", SPACE))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = piece_decoder(prefixed=before)
    tokenizer.add_tokens(_added(proto))
    return tokenizer


def named_tokens(proto: Any) -> dict[str, str]:
    """bos_token, eos_token, unk_token and pad_token as the model names them; those that it has."""
    spec = proto.trainer_spec
    ids = {"bos_token": spec.bos_id, "eos_token": spec.eos_id, "unk_token": spec.unk_id, "pad_token": spec.pad_id}
    return {name: proto.pieces[token].piece for name, token in ids.items() if 0 <= token < len(proto.pieces)}


def _model(proto: Any) -> models.Model:
    scores = [(piece.piece, piece.score) for piece in proto.pieces]
    spec = proto.trainer_spec
    if spec.model_type == UNIGRAM:
        return models.Unigram(scores, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    unknown = next((piece.piece for piece in proto.pieces if piece.type == UNKNOWN), None)
    ids = {piece: token for token, (piece, _) in enumerate(scores)}
    return models.BPE(ids, _merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=spec.byte_fallback)


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Every way to make a piece of two, the best piece first; of equal ones that which continues what was begun."""
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type not in (UNKNOWN, CONTROL)}
    return sorted(merges_of(scores, scores), key=lambda pair: (-scores["".join(pair)], -len(pair[0])))


def _cleaning(spec: Any) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return steps


def _added(proto: Any) -> list[AddedToken]:
    """Control tokens, and spellings that are always one token."""
    return [
        AddedToken(piece.piece, normalized=False, special=piece.type != USER_DEFINED)
        for piece in proto.pieces
        if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
