"""A repository of the Hugging Face hub, and which of its files are fetched. Nothing in it is executed.

HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpaged.errors import ConfigError
from jaxpaged.hub.gguf_choice import choose

SETTINGS_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHT_FILES = ("*.safetensors", "orbax/**")
TORCH_FILES = ("pytorch_model*.bin",)  # fetched where a repository has no other weights
GGUF_FILES = ("*.gguf",)
# Other copies of the same weights, or of parts of the pipeline, in repositories of the hub.
SKIPPED_FILES = ("original/*", "onnx/*", "consolidated*")
_ADDRESS = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/")


def snapshot_download(*args: Any, **kwargs: Any) -> Any:
    """huggingface_hub's, which is imported only where it is used: a model that lies here needs no client."""
    from huggingface_hub import snapshot_download as download

    return download(*args, **kwargs)


def without_address(name: str) -> str:
    """org/name of hf.co/org/name, as Ollama's users write it, or of a page's address."""
    return _ADDRESS.sub("", name, count=1) if _ADDRESS.match(name) else name


@dataclass(frozen=True, slots=True)
class Repository:
    """`name` is its id. cache: where downloads lie, None for the usual place. Every method raises ConfigError."""

    name: str
    revision: str | None
    cache: str | None

    def model(self) -> Path:
        """The directory of its settings, tokenizer and weights; its GGUF file where it has one and no other weights."""
        found = self.files(SETTINGS_FILES + WEIGHT_FILES)
        if _holds(found, WEIGHT_FILES):
            return found
        found = self.files(SETTINGS_FILES + WEIGHT_FILES + TORCH_FILES)
        if _holds(found, TORCH_FILES):
            return found
        names = self._gguf_names()
        return self._gguf_of(names, None) if names else found

    def settings(self) -> Path:
        """The directory of its settings and tokenizer alone."""
        return self.files(SETTINGS_FILES)

    def gguf(self, tag: str) -> Path:
        """The first file of its GGUF model that `tag` means; all files of it are fetched."""
        return self._gguf_of(self._gguf_names(), tag)

    def files(self, patterns: tuple[str, ...]) -> Path:
        """The directory of those of its files that match a pattern, fetched where they are not there yet."""
        with self._explained():
            return Path(
                snapshot_download(
                    self.name,
                    revision=self.revision,
                    cache_dir=self.cache,
                    allow_patterns=list(patterns),
                    ignore_patterns=list(SKIPPED_FILES),
                )
            )

    def _gguf_of(self, names: list[str], tag: str | None) -> Path:
        chosen = choose(names, tag, self.name)
        return self.files(tuple(map(_literal, chosen))) / chosen[0]

    def _gguf_names(self) -> list[str]:
        """Of the repository; where the hub cannot be reached, of what was downloaded before."""
        try:
            with self._explained():
                listing = snapshot_download(
                    self.name,
                    revision=self.revision,
                    cache_dir=self.cache,
                    allow_patterns=list(GGUF_FILES),
                    ignore_patterns=list(SKIPPED_FILES),
                    dry_run=True,
                )
        except _NotListed:
            found = self.files(())
            return [path.relative_to(found).as_posix() for path in found.rglob(GGUF_FILES[0])]
        return [each.filename for each in listing]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the hub as one sentence each."""
        from huggingface_hub import errors
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.name)
            yield
        except errors.DryRunError as error:
            raise _NotListed(str(error)) from error
        except errors.HFValidationError as error:
            raise ConfigError(f"{self.name!r} is neither a directory nor a hub id such as Qwen/Qwen3-0.6B.") from error
        except errors.GatedRepoError as error:
            raise ConfigError(f"{self.name} is gated: accept its licence on the hub and set HF_TOKEN.") from error
        except errors.RevisionNotFoundError as error:
            raise ConfigError(f"{self.name} has no revision {self.revision!r} on the hub.") from error
        except errors.RepositoryNotFoundError as error:
            raise ConfigError(f"{self.name} is no directory here and no (public) model of the hub.") from error
        except errors.LocalEntryNotFoundError as error:
            raise ConfigError(
                f"{self.name} is no directory here, not in the download cache, and the hub cannot be reached; "
                "download it where there is a network, or name a local directory."
            ) from error
        except (errors.HfHubHTTPError, OSError) as error:
            reason = str(error).strip().partition(chr(10))[0]
            raise ConfigError(f"{self.name} could not be downloaded: {reason}") from error


class _NotListed(ConfigError):
    """The hub does not say what a repository holds; downloading says why, or has it already."""


def _holds(directory: Path, patterns: tuple[str, ...]) -> bool:
    return any(any(directory.glob(pattern)) for pattern in patterns)


def _literal(name: str) -> str:
    """A pattern that means this file only."""
    return re.sub(r"([\[*?])", r"[\1]", name)
