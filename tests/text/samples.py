"""Small real tokenizers and model directories for the tests of everything that handles text."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jaxpaged.text.vocabulary import Vocabulary

END, START, EOS = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
THINK = "</think>"  # an added token that is not special
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "hello world, the quick brown fox jumps over the lazy dog. stop here! \n\n 你好世界 naïve café 🙂 👩‍👧 emoji"
] * 20


@cache
def byte_level_backend() -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it: about 400 tokens, most characters span several."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=[EOS, START, END], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(THINK, special=False, normalized=False)])
    return tokenizer


@cache
def byte_fallback_backend() -> Tokenizer:
    """Words with byte fallback, as Llama 2 and Gemma have it: whatever is not a known piece becomes <0xNN> tokens."""
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁hello", "▁world", "hello", "a", "b", "c", "o", "l", "!", "▁stop", "st", "op"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    strip = decoders.Strip(content=" ", left=1, right=0)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return tokenizer


def vocabulary() -> Vocabulary:
    return Vocabulary(byte_level_backend())


def hf_tokenizer(*, chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(byte_level_backend().to_str())
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS, chat_template=chat_template)


def model_directory(path: Path, *, generation: dict[str, Any] | None = None, chat: bool = True) -> Path:
    """A directory with a tokenizer and configs, as far as a front end reads it; no weights."""
    path.mkdir(parents=True, exist_ok=True)
    hf_tokenizer(chat_template=CHAT_TEMPLATE if chat else None).save_pretrained(path)
    eos = byte_level_backend().token_to_id(EOS)
    (path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": eos}))
    if generation is not None:
        (path / "generation_config.json").write_text(json.dumps(generation))
    return path
