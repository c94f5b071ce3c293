"""Byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have it."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from jaxpaged.gguf.splits import GPT2, SPLITS, Split
from jaxpaged.gguf.vocabulary import Vocabulary


def byte_level_split(vocabulary: Vocabulary) -> Split:
    """Raises ConfigError for a way of cutting words that is not known."""
    name = vocabulary.value("pre")
    if name is None or name == "default":
        return GPT2
    if name not in SPLITS:
        raise vocabulary.refusal(f"cuts words in the unknown way {name!r}")
    return SPLITS[name]


def byte_level_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Without special tokens. Raises ConfigError."""
    split = byte_level_split(vocabulary)
    if vocabulary.merges is None:
        raise vocabulary.refusal("has no merges")
    pairs = [merge.split(" ") for merge in vocabulary.merges]
    if any(len(pair) != 2 for pair in pairs):
        raise vocabulary.refusal("has a merge that is no pair of tokens")
    merges = [(left, right) for left, right in pairs]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary.ids, merges=merges, ignore_merges=split.whole_words))
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in split.patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
