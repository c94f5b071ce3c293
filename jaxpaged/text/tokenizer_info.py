"""What a tokenizer was made from, as JSON: its tokenizer_config.json without the paths of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PATHS = frozenset(("name_or_path", "cache_dir", "tokenizer_object"))


def tokenizer_info(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Its settings, class and chat template."""
    settings = {
        name: _plain(value)
        for name, value in tokenizer.init_kwargs.items()
        if name not in _PATHS and not name.endswith("_file")
    }
    info = {**settings, "tokenizer_class": type(tokenizer).__name__}
    if tokenizer.chat_template is not None:
        info["chat_template"] = tokenizer.chat_template
    return info


def _plain(value: Any) -> Any:
    """Tokens by their text, and nothing that JSON does not have."""
    if hasattr(value, "content"):
        return value.content
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(part) for part in value]
    if isinstance(value, int) and abs(value) >= 2**63:  # transformers' word for "no limit"
        return float(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
