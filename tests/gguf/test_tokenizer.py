"""The tokenizer in a GGUF file gives the ids of the tokenizer.json that it was made from."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.frontend.generation_config import load_generation_config
from jaxpaged.gguf.splits import SPLITS
from jaxpaged.hub.model_directory import resolve_model
from jaxpaged.structured.vocabulary import GrammarVocabulary
from jaxpaged.text.tokenizer import load_tokenizer
from tests.gguf import forward
from tests.gguf.test_checkpoint import config_of, weights_of
from tests.text.samples import CHAT_TEMPLATE, END, EOS, START, THINK, byte_level_backend

TEXTS = ["hello world", "  two  spaces\n\nstop here!", "naïve café 你好 🙂", "12345 it's", "", "a</think>b"]
SPECIAL = [EOS, START, END]


def byte_level_metadata(pre: str = "gpt-2") -> dict[str, Any]:
    model = json.loads(byte_level_backend().to_str())["model"]
    tokens = sorted(byte_level_backend().get_vocab(), key=byte_level_backend().token_to_id)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 4 if token == THINK else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.eos_token_id": tokens.index(EOS),
        "tokenizer.ggml.bos_token_id": tokens.index(START),
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def resolve(tmp_path: Path, metadata: dict[str, Any], **config: Any) -> Path:
    model = config_of("llama")
    tensors = forward.tensors_of(model, weights_of("llama"))
    file = forward.write(tmp_path / "model.gguf", {**forward.metadata_of(model), **metadata}, tensors)
    return resolve_model(ModelConfig(model=str(file), download_dir=str(tmp_path / "cache"), **config))


def test_byte_level(tmp_path: Path) -> None:
    directory = resolve(tmp_path, {**byte_level_metadata(), "general.sampling.temp": 0.5})
    tokenizer = load_tokenizer(directory)
    for text in TEXTS:
        ids = byte_level_backend().encode(text).ids
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert (tokenizer.eos_token, tokenizer.bos_token) == (EOS, START)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    assert {token.content: token.special for token in added} == {**dict.fromkeys(SPECIAL, True), THINK: False}
    generation = load_generation_config(directory)
    assert generation.eos_token_ids == tuple(sorted(map(byte_level_backend().token_to_id, (EOS, END))))
    assert generation.sampling == {"temperature": 0.5}
    text = (directory / "tokenizer.json").read_text("utf-8")
    assert GrammarVocabulary.from_json(text, 512).special.keys() == set(SPECIAL)


def test_a_text_may_begin_with_the_bos_token(tmp_path: Path) -> None:
    for pre, said, bos in (("gpt-2", None, False), ("gpt-2", True, True), ("llama-bpe", None, True)):
        metadata = byte_level_metadata(pre) | ({} if said is None else {"tokenizer.ggml.add_bos_token": said})
        ids = load_tokenizer(resolve(tmp_path, metadata)).encode("hello")
        assert (ids[0] == byte_level_backend().token_to_id(START)) is bos


def sentence_piece() -> Tokenizer:
    """As Llama 2's tokenizer.json is."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learnt = ["he", "ll", "hell", "\u2581w", "or", "ld", "orld", "\u2581world", "hello", "\u2581hello", "\u2581s", "s>"]
    letters = sorted({*"".join(learnt), "a", "<"})
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("\u2581", "w"), ("o", "r"), ("l", "d"), ("or", "ld")]
    merges += [("\u2581w", "orld"), ("hell", "o"), ("\u2581", "hello"), ("\u2581", "s"), ("s", ">")]
    vocab = {piece: index for index, piece in enumerate([*pieces, *learnt, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    tokenizer.add_special_tokens([AddedToken("<s>", normalized=False), AddedToken("</s>", normalized=False)])
    return tokenizer


def sentence_piece_metadata() -> dict[str, Any]:
    backend = sentence_piece()
    tokens = sorted(backend.get_vocab(), key=backend.token_to_id)
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": [-1000.0 if kind != 1 else 259.0 - id for id, kind in enumerate(kinds)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def test_sentence_piece(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve(tmp_path, sentence_piece_metadata()))
    for text in ["hello world", "  hello", "world hello\n你", "shell or lord", "</s>hello"]:
        ids = sentence_piece().encode(text).ids
        assert tokenizer.encode(text) == [1, *ids]
        assert tokenizer.decode(ids, skip_special_tokens=False) == sentence_piece().decode(
            ids, skip_special_tokens=False
        )
    # "<s>" is made from "<" and "s>" by no merge: a text that spells it, taken apart, is not the token.
    assert 1 not in tokenizer.encode("<s>", add_special_tokens=False, split_special_tokens=True)
    bare = load_tokenizer(resolve(tmp_path, {**sentence_piece_metadata(), "tokenizer.ggml.add_bos_token": False}))
    assert bare.encode("hello") == sentence_piece().encode("hello").ids


def test_phi_3_takes_the_white_space_behind_a_marker(tmp_path: Path) -> None:
    config = config_of("phi3")
    metadata = {**forward.metadata_of(config), **sentence_piece_metadata()}
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], "<|end|>"]
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 3]
    metadata["tokenizer.ggml.scores"] = [*metadata["tokenizer.ggml.scores"], -1000.0]
    file = forward.write(tmp_path / "phi3.gguf", metadata, forward.tensors_of(config, weights_of("phi3")))
    directory = resolve_model(ModelConfig(model=str(file), download_dir=str(tmp_path)))
    tokenizer = load_tokenizer(directory)
    assert tokenizer.encode("<|end|>\nhello") == tokenizer.encode("<|end|>hello")


@pytest.mark.parametrize("pre", SPLITS)
def test_every_way_to_cut_words_loses_nothing(tmp_path: Path, pre: str) -> None:
    from jaxpaged.gguf.byte_level import byte_level_tokenizer
    from jaxpaged.gguf.files import GgufModel
    from jaxpaged.gguf.metadata import Metadata
    from jaxpaged.gguf.vocabulary import read_vocabulary

    metadata = Metadata(GgufModel((tmp_path,), byte_level_metadata(pre), {}))
    tokenizer = byte_level_tokenizer(read_vocabulary(metadata))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tokenizer.ggml.pre": "brand-new"}, "cuts words in the unknown way 'brand-new'"),
        ({"tokenizer.ggml.model": "bert"}, "is of the kind 'bert', where gpt2 and llama are read"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "a vocabulary whose lists do not go together"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "a broken list tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "a merge that is no pair of tokens"),
        ({"tokenizer.ggml.merges": ["nothing there"]}, "cannot be put together"),
    ],
)
def test_what_cannot_be_a_tokenizer_is_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    """Unless another one is named, or none is wanted."""
    metadata = byte_level_metadata() | changes
    with pytest.raises(ConfigError, match=match) as caught:
        resolve(tmp_path, metadata)
    assert "\n" not in str(caught.value)
    assert resolve(tmp_path, metadata, skip_tokenizer_init=True).is_dir()
    assert resolve(tmp_path, metadata, tokenizer="another").is_dir()
