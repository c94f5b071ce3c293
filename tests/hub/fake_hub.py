"""Stands in for huggingface_hub.snapshot_download: a folder for each repository, a cache that links to blobs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError


@dataclass(frozen=True)
class Listed:
    filename: str


@dataclass
class FakeHub:
    """root/org/name is the repository org/name. `fetched` are the files that came over the network."""

    root: Path
    cache: Path
    online: bool = True
    fetched: list[str] = field(default_factory=list)

    def put(self, repository: str, name: str, content: bytes = b"") -> Path:
        path = self.root / repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def snapshot_download(
        self, repository: str, *, allow_patterns: list[str], ignore_patterns: list[str], dry_run: bool = False, **_: Any
    ) -> str | list[Listed]:
        snapshot = self.cache / repository.replace("/", "--") / "snapshots" / "abc"
        if not self.online:
            if dry_run:
                raise DryRunError("no network")
            if not snapshot.is_dir():
                raise LocalEntryNotFoundError("no network")
            return str(snapshot)
        folder = self.root / repository
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        wanted = [name for name in names if _any(name, allow_patterns) and not _any(name, ignore_patterns)]
        if dry_run:
            return [Listed(name) for name in wanted]
        snapshot.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            self._fetch(folder / name, snapshot / name)
        return str(snapshot)

    def _fetch(self, source: Path, link: Path) -> None:
        if link.is_symlink():
            return
        self.fetched.append(source.name)
        blob = self.cache / "blobs" / f"{len(self.fetched):064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)


def _any(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
