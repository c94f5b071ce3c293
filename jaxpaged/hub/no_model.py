"""What a directory without config.json is instead, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

ADAPTER = "adapter_config.json"
LACKS = "it has no config.json"
MAX_ENTRIES = 1000
# In the order in which they are looked for: a file's name or pattern, and what a directory with such a file is.
_OTHERS = (
    ("params.json", "it is in the form of the model's maker (params.json); take the model's files for transformers "
     "(config.json, model*.safetensors) instead."),
    ("model_index.json", "it is an image pipeline of diffusers (model_index.json), which is not served."),
    ("modules.json", "it is a model of sentence-transformers (modules.json) without one."),
    ("genai_config.json", "it is a model for onnxruntime; take the model's safetensors instead."),
    ("*.onnx", "it is a model for onnxruntime; take the model's safetensors instead."),
    ("rank*.engine", "it is an engine of TensorRT-LLM; take the model that it was built from instead."),
    ("*.safetensors", "copy the model's config.json beside its weights."),
    ("pytorch_model*.bin", "copy the model's config.json beside its weights."),
)  # fmt: skip


def why_no_model(directory: Path) -> str:
    """The end of a sentence about a directory without config.json."""
    if (directory / ADAPTER).is_file():
        return f"it is a LoRA adapter ({ADAPTER}); {_merge_adapter(directory)}"
    for pattern, meaning in _OTHERS:
        if any(directory.glob(pattern)):
            return f"{LACKS}; {meaning}"
    for inner in _inner_models(directory):
        return f"{LACKS}, but {inner} has one; name that directory."
    if not any(directory.iterdir()):
        return f"{LACKS}, for it is empty; download a model into it with `hf download MODEL --local-dir {directory}`."
    return f"{LACKS}; name the directory of a model, or a hub id such as Qwen/Qwen3-0.6B."


def _merge_adapter(directory: Path) -> str:
    base = _json_object(directory / ADAPTER).get("base_model_name_or_path")
    model = base if isinstance(base, str) and base and base.isprintable() else "the model that it was trained on"
    return f"adapters are not served yet: merge it into {model} (merge_and_unload() of peft) and serve the result."


def _inner_models(directory: Path) -> list[Path]:
    """One step down, and in the snapshots of a hub's cache."""
    inner = [*islice(directory.iterdir(), MAX_ENTRIES), *islice((directory / "snapshots").glob("*"), MAX_ENTRIES)]
    return sorted(path for path in inner if (path / "config.json").is_file())


def _json_object(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
