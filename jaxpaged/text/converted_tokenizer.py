"""A directory without tokenizer.json: its tokenizer.model, tiktoken.model or tekken.json as the same fast tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenizers import Tokenizer, processors

from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import read_json
from jaxpaged.text.byte_ranks import read_tekken, read_tiktoken
from jaxpaged.text.sentencepiece_model import fast_tokenizer, named_tokens, read_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAST, SETTINGS, TEKKEN = "tokenizer.json", "tokenizer_config.json", "tekken.json"
MODELS = ("tokenizer.model", "tiktoken.model")
BESIDE, TEMPLATES = ("special_tokens_map.json", "added_tokens.json", "chat_template.json"), "*.jinja"
# Classes whose ids are those of the model; others (T5Tokenizer, XGLMTokenizer, ...) move them.
_GENERIC = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
_FAMILIES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
SAME_IDS = frozenset({*_GENERIC, *_FAMILIES, *(f"{name}Fast" for name in _FAMILIES)})


class Converted(NamedTuple):
    """A tokenizer, and the spellings of its bos_token, eos_token and so on."""

    backend: Tokenizer
    named: Mapping[str, str]


def convert_tokenizer(directory: Path) -> PreTrainedTokenizerFast | None:
    """The tokenizer with the directory's settings; None where transformers reads the files as they are.

    Raises ConfigError for a file of another kind.
    """
    if (directory / FAST).is_file():
        return None
    settings = read_json(directory / SETTINGS) if (directory / SETTINGS).is_file() else {}
    if (directory / TEKKEN).is_file():
        return _load(directory, Converted(*read_tekken(directory / TEKKEN)), settings)
    path = next((directory / name for name in MODELS if (directory / name).is_file()), None)
    has_own_code = bool(settings.pop("auto_map", None))
    if path is None or not (has_own_code or settings.get("tokenizer_class", _GENERIC[0]) in SAME_IDS):
        return None
    return _load(directory, _read(path, settings), settings)


def _read(path: Path, settings: Mapping[str, Any]) -> Converted:
    proto = read_model(path)
    if proto is not None:
        if settings.get("add_prefix_space") is False:
            proto.normalizer_spec.add_dummy_prefix = False
        everywhere = settings.get("legacy") is not False
        return Converted(fast_tokenizer(proto, spaces_everywhere=everywhere), named_tokens(proto))
    backend = read_tiktoken(path, settings.get("added_tokens_decoder"))
    if backend is None:
        raise ConfigError(f"{path} is neither a SentencePiece model nor a list of tiktoken's; fetch the file again.")
    return Converted(backend, {})


def _load(directory: Path, converted: Converted, settings: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    backend, named = converted
    merged: dict[str, Any] = {**named, "add_bos_token": "bos_token" in named, "add_eos_token": False, **settings}
    surround = _surround(backend, merged)
    if surround is not None:
        backend.post_processor = surround
    with TemporaryDirectory() as made:
        backend.save(f"{made}/{FAST}")
        merged["tokenizer_class"] = "PreTrainedTokenizerFast"
        written = {name: read_json(directory / name) for name in BESIDE if (directory / name).is_file()}
        for name, content in {**written, SETTINGS: merged}.items():
            Path(made, name).write_text(json.dumps(_literal(content)), encoding="utf-8")
        for template in directory.glob(TEMPLATES):
            shutil.copy(template, made)
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(made)
    tokenizer.name_or_path = str(directory)
    return tokenizer


def _literal(content: Any) -> Any:
    """The same with every token that is described in it found as it is spelled, not after spaces were written anew."""
    if isinstance(content, list):
        return [_literal(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {key: False if key == "normalized" else _literal(value) for key, value in content.items()}


def _surround(backend: Tokenizer, settings: Mapping[str, Any]) -> processors.PostProcessor | None:
    """Puts bos_token before a text and eos_token behind it, where the settings say so and the model has them."""
    ids = {}
    for name in ("bos", "eos"):
        token = settings.get(f"{name}_token")
        spelling = token.get("content") if isinstance(token, dict) else token
        found = backend.token_to_id(spelling) if isinstance(spelling, str) else None
        if found is not None and settings.get(f"add_{name}_token"):
            ids[name] = (spelling, found)
    if not ids:
        return None
    before, behind = ([ids[name][0]] if name in ids else [] for name in ("bos", "eos"))
    return processors.TemplateProcessing(single=[*before, "$A", *behind], special_tokens=list(ids.values()))
