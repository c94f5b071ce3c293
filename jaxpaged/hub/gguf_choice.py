"""One GGUF model of several, by its quantization: NAME:Q4_K_M, as users of llama.cpp, vLLM and Ollama write it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePosixPath

from jaxpaged.errors import ConfigError

MAX_ENTRIES = 10_000  # of a directory that are looked at
MAX_LISTED = 24
_TAGGED = re.compile(r"(.+[^/:]):([A-Za-z0-9][A-Za-z0-9_.+-]*)")
_MODEL = re.compile(r"(.+?)(-[0-9]{5}-of-[0-9]{5})?\.gguf", re.IGNORECASE)
_LABEL = re.compile(r"(?:UD-)?(?:I?Q[0-9]\w*|TQ[0-9]\w*|MXFP4\w*|BF16|F16|F32|FP16|FP32)", re.IGNORECASE)
# Files beside a model that are none: an image encoder, and what a quantizer measured.
_OTHERS = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_UNSLOTH = "ud-"  # Unsloth's own mixes, beside the plain ones


def split_tag(name: str) -> tuple[str, str | None]:
    """NAME:TAG as its two parts; the tag is None where there is none."""
    tagged = _TAGGED.fullmatch(name)
    return (name, None) if tagged is None else (tagged[1], tagged[2])


def gguf_in(directory: Path, tag: str) -> Path:
    """The first file of the model in a local directory, or one step down, that `tag` means. Raises ConfigError."""
    found = (path for pattern in ("*.gguf", "*/*.gguf") for path in directory.glob(pattern))
    names = [path.relative_to(directory).as_posix() for path in islice(found, MAX_ENTRIES)]
    return directory / choose(names, tag, str(directory))[0]


def choose(names: Iterable[str], tag: str | None, place: str) -> list[str]:
    """The files of the model that `tag` means (None: the only one), in order. Raises ConfigError for none or several.

    names: paths inside `place`, which is a directory or a repository.
    """
    models = _models(names)
    fitting = list(models) if tag is None else _fitting(models, tag)
    if len(fitting) == 1:
        return models[fitting[0]]
    if not models:
        raise ConfigError(f"{place} holds no GGUF file; leave :{tag} out, or name a place that holds some.")
    listed = _listed(fitting or models)
    if tag is None:
        raise ConfigError(f"{place} holds {len(models)} GGUF models; name one as {place}:TAG, TAG being {listed}.")
    if not fitting:
        raise ConfigError(f"{place} holds no GGUF file of {tag}; after the colon there may stand {listed}.")
    files = ", ".join(PurePosixPath(models[model][0]).name for model in fitting[:MAX_LISTED])
    raise ConfigError(f"{place} holds {len(fitting)} GGUF models of {tag}; name a file after the colon: {files}.")


def _models(names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each model, by the path that the names of its parts have in common."""
    models: dict[str, list[str]] = {}
    for name in sorted(names):
        named = _MODEL.fullmatch(name)
        if named is not None and not _OTHERS.search(PurePosixPath(name).name):
            models.setdefault(named[1], []).append(name)
    return models


def _fitting(models: dict[str, list[str]], tag: str) -> list[str]:
    """Models with a file of that name; else those in whose names the tag stands between separators."""
    wanted = tag.lower()
    exact = [
        model
        for model, files in models.items()
        if wanted in {text.lower() for name in (model, *files) for text in (name, PurePosixPath(name).name)}
    ]
    inside = re.compile(rf"(?:^|[-._/]){re.escape(wanted)}(?:$|[-./])")
    found = exact or [model for model in models if inside.search(model.lower())]
    plain = [model for model in found if f"{_UNSLOTH}{wanted}" not in model.lower()]
    return plain or found


def _listed(models: Iterable[str]) -> str:
    labels = sorted({_label(model) for model in models})
    more = len(labels) - MAX_LISTED
    return ", ".join(labels[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _label(model: str) -> str:
    """What is asked for after the colon: the quantization at the end of the name, or all of the name."""
    name = PurePosixPath(model).name
    found = [label[0] for label in _LABEL.finditer(name) if label.end() == len(name)]
    return found[0] if found else name
