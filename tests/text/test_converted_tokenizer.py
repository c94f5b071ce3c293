"""Tokenizers without tokenizer.json: SentencePiece models, tiktoken's lists, tekken.json; the ids are the source's."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from jaxpaged.errors import ConfigError
from jaxpaged.text.tokenizer import load_tokenizer

LETTERS = "ab  cdé\n\tüß日本🙂12.,()_-"
SENTENCES = [
    "the cat sat on the mat",
    "a cat and a bat",
    "def f(x):\n    return x",
    "Grüße aus 日本",
    "one  two   three",
] * 20
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False},
    "gemma": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "plain": {"model_type": "bpe"},
    "unigram": {"model_type": "unigram", "byte_fallback": True},
}


def train(path: Path, **options: Any) -> sentencepiece.SentencePieceProcessor:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=written,
        vocab_size=340 if options.get("byte_fallback") else 80,
        hard_vocab_limit=False,
        user_defined_symbols=["<|end|>"],
        normalization_rule_name="nmt_nfkc" if options["model_type"] == "unigram" else "identity",
        minloglevel=2,
        **options,
    )
    path.write_bytes(written.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def texts() -> list[str]:
    rng = random.Random(0)
    made = ["".join(rng.choices(LETTERS, k=rng.randrange(1, 40))) for _ in range(300)]
    return [*SENTENCES[:5], "", " ", "     x", "x      return", *made]


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_and_the_text_are_sentencepieces_own(tmp_path: Path, kind: str) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS[kind])
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer) == model.get_piece_size()
    for text in texts():
        ids = model.encode(text)
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        if model.unk_id() not in ids:  # spelled " \u2047 " by one and <unk> by the other
            assert tokenizer.decode(ids) == model.decode(ids), text


@pytest.mark.parametrize("model_type", ["llama", "mistral", "phi3", "gemma2", None])
@pytest.mark.parametrize("name", ["LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer", None])
def test_whatever_the_configs_name(tmp_path: Path, model_type: str | None, name: str | None) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS["llama"])
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    if name:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("a cat") == [model.bos_id(), *model.encode("a cat")]
    assert (tokenizer.bos_token, tokenizer.eos_token_id) == ("<s>", model.eos_id())


def test_the_settings_beside_it_count(tmp_path: Path) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS["llama"])
    size = model.get_piece_size()
    token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    settings = {
        "auto_map": {"AutoTokenizer": ["evil.Evil", None]},
        "tokenizer_class": "Evil",
        "add_bos_token": False,
        "add_eos_token": True,
        "added_tokens_decoder": {str(size): {"content": "<|im_end|>", **token}},
        "eos_token": {"content": "</s>", "__type": "AddedToken", **token},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("a cat<|im_end|>") == [*model.encode("a cat"), size, model.eos_id()]
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.name_or_path == str(tmp_path)
    assert load_tokenizer(tmp_path, chat_template="x").chat_template == "x"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_tokens_that_old_settings_call_normalized_stay_tokens(tmp_path: Path, name: str) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS["llama"])
    token = {"content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    kind = {"__type": "AddedToken"} if name == "tokenizer_config.json" else {}
    (tmp_path / name).write_text(json.dumps({"eos_token": {**token, **kind}}))
    tokenizer = load_tokenizer(tmp_path)
    ids = [*model.encode("a cat"), model.eos_id()]
    assert tokenizer.encode("a cat</s>", add_special_tokens=False) == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a cat"


@pytest.mark.parametrize(("settings", "before"), [({"legacy": False}, False), ({}, True)])
def test_a_space_stands_after_special_tokens_unless_legacy_is_false(
    tmp_path: Path, settings: dict[str, bool], before: bool
) -> None:
    model = train(tmp_path / "tokenizer.model", **KINDS["llama"])
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = load_tokenizer(tmp_path).encode("</s>cat", add_special_tokens=False)
    assert (ids == [model.eos_id(), *model.encode("cat")]) == before


def tiktoken_file(*tokens: bytes) -> bytes:
    ranked = [*(bytes([value]) for value in range(256)), *tokens]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranked))


@pytest.mark.parametrize("name", ["tokenizer.model", "tiktoken.model"])
def test_a_list_in_tiktokens_form(tmp_path: Path, name: str) -> None:
    for third in (b"hell", b"hello"):  # the second time another file of the same path
        (tmp_path / name).write_bytes(tiktoken_file(b"he", b"ll", b"hell", *([b"hello"] if third == b"hello" else [])))
        count = 260 if third == b"hello" else 259
        added = {str(count + 1): {"content": "<|end|>", "special": True}}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, "eos_token": "<|end|>"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        tokenizer = load_tokenizer(tmp_path)
        assert tokenizer.encode("hello<|end|>") == [*([259] if count == 260 else [258, ord("o")]), count + 1]
        assert tokenizer.eos_token_id == count + 1
        assert tokenizer.decode([0xC3, 0xBC]) == "ü"


def test_tekken(tmp_path: Path) -> None:
    ranked = [bytes([value]) for value in range(256)] + [b"he", b"ll", b"hell"]
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(each).decode()} for rank, each in enumerate(ranked)]
    special = [{"rank": rank, "token_str": each} for rank, each in enumerate(["<unk>", "<s>", "</s>", "[INST]"])]
    config = {"pattern": r"\w+|\W", "default_vocab_size": 263, "default_num_special_tokens": 4, "version": "v7"}
    written = {"config": config, "vocab": vocab, "special_tokens": special}
    (tmp_path / "tekken.json").write_text(json.dumps(written))
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("[INST]hello") == [1, 3, 4 + 258, 4 + ord("o")]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.model", b"", "neither a SentencePiece model nor a list of tiktoken's"),
        ("tokenizer.model", b"\x00\xffgarbage", "neither a SentencePiece model nor a list of tiktoken's"),
        ("tokenizer.model", b"hello world\n", "neither a SentencePiece model nor a list of tiktoken's"),
        ("tokenizer.model", b"YQ== 7\n", "neither a SentencePiece model nor a list of tiktoken's"),
        ("tekken.json", b"{", "cannot be read as JSON"),
        ("tekken.json", b"{}", "is no tokenizer of tekken's"),
        ("tekken.json", b'{"config": {"pattern": "("}, "vocab": []}', "tekken.json is no tokenizer|cannot be loaded"),
        ("tokenizer_config.json", b'{"tokenizer_class": "T5Tokenizer"}', "holds no tokenizer"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "tokenizer.model", **KINDS["llama"])
    whole = (tmp_path / "tokenizer.model").read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "tokenizer.model").write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="neither a SentencePiece model"):
            load_tokenizer(tmp_path)
