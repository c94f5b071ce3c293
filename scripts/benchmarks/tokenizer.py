"""A byte-level BPE tokenizer that needs no training: every string of up to three letters, with or without a space.

Random ids then become plain text, a piece for each token, so that every engine sends an event for each.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import ascii_lowercase

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
SPACE = "Ġ"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """Letters to pairs, pairs and a letter to triples, then a space in front."""
    pairs = [(a, b) for a in ascii_lowercase for b in ascii_lowercase]
    triples = [(a + b, c) for a, b in pairs for c in ascii_lowercase]
    words = [*ascii_lowercase, *("".join(pair) for pair in pairs), *("".join(triple) for triple in triples)]
    return (*pairs, *triples, *((SPACE, word) for word in words))


@cache
def vocabulary(size: int) -> tuple[str, ...]:
    """Tokens by id, filled up to `size` with names that no text contains."""
    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges())]
    return (*tokens[:size], *(f"<unused{index}>" for index in range(size - len(tokens))))


def save_tokenizer(directory: Path, size: int) -> None:
    """`size` must hold all tokens: 36,817."""
    vocab = {token: index for index, token in enumerate(vocabulary(size))}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=list(merges())))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    pad, bos, eos = SPECIAL[:3]
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=pad, bos_token=bos, eos_token=eos)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
