"""Checkpoints whose tensors are quantized already: recognised, so that they are refused by the name of their method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jaxpaged.errors import UnsupportedModelError

KEYS = ("quantization_config", "compression_config", "quantization")  # transformers, llm-compressor, MLX
MAX_WORD = 40
_FOUR, _EIGHT = ("load_in_4bit", "_load_in_4bit"), ("load_in_8bit", "_load_in_8bit")


def refuse_quantized(config: Mapping[str, Any], unpacked: Collection[str] = ()) -> None:
    """Raises UnsupportedModelError with the method's name where config.json says that the tensors are quantized.

    unpacked: methods that the family's checkpoints are read in.
    """
    for key in KEYS:
        if config.get(key) and not _is_switched_off(config[key]) and _method(key, config[key]) not in unpacked:
            raise UnsupportedModelError(
                f"the checkpoint is quantized with {_method(key, config[key])}, which is not read yet; serve the "
                "unquantized checkpoint of this model (--quantization int8 makes that one smaller)."
            )


def _is_switched_off(settings: Any) -> bool:
    """Of a fine-tune that was merged: bitsandbytes with neither 4 nor 8 bits, or an export without an algorithm."""
    if not isinstance(settings, Mapping):
        return False
    bits = [settings[key] for key in (*_FOUR, *_EIGHT) if key in settings]
    nested = settings.get("quantization")
    exported = nested if isinstance(nested, Mapping) else {}
    return (bool(bits) and not any(bits)) or ("quant_algo" in exported and not exported["quant_algo"])


def _method(key: str, settings: Any) -> str:
    if not isinstance(settings, Mapping):
        return _word(settings)
    nested = settings.get("quantization")
    inner = nested if isinstance(nested, Mapping) else settings
    producer = settings.get("producer")
    made_by = producer.get("name") if isinstance(producer, Mapping) else None
    name = settings.get("quant_method") or made_by or ("MLX" if key == "quantization" else "an unnamed method")
    detail = inner.get("quant_algo") or inner.get("format") or inner.get("fmt") or _bits(inner)
    return _word(name) + (f" ({_word(detail)})" if detail else "")


def _bits(settings: Mapping[str, Any]) -> str:
    for key in ("bits", "w_bit"):
        if settings.get(key):
            return f"{_word(settings[key])} bits"
    if any(settings.get(key) for key in _FOUR):
        return "4 bits"
    return "8 bits" if any(settings.get(key) for key in _EIGHT) else ""


def _word(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_WORD else f"{text[:MAX_WORD]}..."
