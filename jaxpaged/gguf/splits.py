"""How text is cut into words before merges: the patterns behind the names in tokenizer.ggml.pre.

The names are llama.cpp's, the patterns those of the published tokenizer.json files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_SHORT_FORMS = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = rf"{_SHORT_FORMS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"


def _words(digits: str) -> str:
    return (
        rf"(?i:{_SHORT_FORMS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _cased(short_forms: str, digits: str) -> str:
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{short_forms}|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{short_forms}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


@dataclass(frozen=True, slots=True)
class Split:
    """patterns: applied one after the other. whole_words: a word that is a token is not put together from merges.

    add_bos: where the file does not say whether a text begins with the bos token.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False


GPT2 = Split((_GPT2,))
_LLAMA3 = Split((_words(r"\p{N}{1,3}"),), whole_words=True, add_bos=True)
_THREE_DIGITS = Split((_words(r"\p{N}{1,3}"),))
_QWEN2 = Split((_words(r"\p{N}"),))
_SINGLE_DIGITS = Split((r"\p{N}", _GPT2))
_BLOOM = Split((r" ?[^(\s|[.,!?…。" "\uff0c、।\u06d4،" r"])]+",))
_TEKKEN = Split((_cased("", r"\p{N}"),), whole_words=True, add_bos=True)
_GPT4O = Split((_cased(rf"(?i:{_SHORT_FORMS})?", r"\p{N}{1,3}"),))

SPLITS: Mapping[str, Split] = MappingProxyType(
    {
        **dict.fromkeys("gpt-2 phi-2 olmo mpt jais trillion granite-docling gigachat mellum".split(), GPT2),
        **dict.fromkeys("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0".split(), _LLAMA3),
        **dict.fromkeys("dbrx smaug-bpe chatglm-bpe glm4".split(), _THREE_DIGITS),
        **dict.fromkeys("qwen2 deepseek-r1-qwen stablelm2 megrez kormo hunyuan".split(), _QWEN2),
        **dict.fromkeys("smollm starcoder refact command-r codeshell exaone minerva-7b".split(), _SINGLE_DIGITS),
        **dict.fromkeys("bloom poro-chat gpt3-finnish".split(), _BLOOM),
        "tekken": _TEKKEN,
        **dict.fromkeys("gpt-4o llama4 kanana2".split(), _GPT4O),
    }
)
