"""Files on the local disk: the content under its id, what is known of it beside it as JSON.

Ids are ours and random, and only ids in the index ever become paths; a client's file name is remembered, never used.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxpaged import ConfigError
from server.errors import ApiError
from server.files.records import read_json, write_json

MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file. Times are seconds since 1970."""

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None

    def body(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """Files in `directory`, which is made where it is missing; None is a temporary one that ends with the store.

    At most MAX_FILES, of together `max_bytes`. Raises ConfigError where the directory cannot be used.
    """

    def __init__(self, directory: str | None, max_bytes: int) -> None:
        self._directory = None if directory is None else _made(Path(directory))
        self._max_bytes = max_bytes
        self._files: dict[str, StoredFile] = {}
        if self._directory is not None:
            self._files = {stored.id: stored for stored in _read_index(self._directory)}

    @property
    def directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="jaxpaged-files-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        return self._directory

    def new(self, owner: str, filename: str, purpose: str, expires_after: int | None = None) -> StoredFile:
        """A file that is still empty and that nobody finds: write to path(), then keep() it."""
        now = int(time.time())
        expires_at = None if expires_after is None else now + expires_after
        return StoredFile(f"file-{uuid.uuid4().hex}", owner, filename, purpose, 0, now, expires_at)

    def check_room(self, size: int) -> None:
        """Raise ApiError when `size` more bytes, or one more file, are too many."""
        self._forget_expired()
        used = sum(stored.bytes for stored in self._files.values())
        if used + size > self._max_bytes or len(self._files) >= MAX_FILES:
            raise ApiError(413, "The server's room for files is used up; delete some.", code="no_room_for_files")

    def path(self, stored: StoredFile) -> Path:
        return self.directory / stored.id

    def keep(self, stored: StoredFile) -> StoredFile:
        """Let a file that has been written be found; its size is counted here."""
        stored = replace(stored, bytes=self.path(stored).stat().st_size)
        write_json(self.path(stored).with_suffix(".json"), stored)
        self._files[stored.id] = stored
        return stored

    def get(self, owner: str, file_id: str) -> StoredFile:
        """Raises ApiError (404) for what is unknown, has expired, or is somebody else's."""
        self._forget_expired()
        stored = self._files.get(file_id)
        if stored is None or stored.owner != owner:
            raise ApiError(404, "There is no such file.", param="file_id", code="file_not_found")
        return stored

    def list(self, owner: str) -> list[StoredFile]:
        """All of an owner's files, the newest first."""
        self._forget_expired()
        return [stored for stored in reversed(self._files.values()) if stored.owner == owner]

    def remove(self, stored: StoredFile) -> None:
        """Forget a file, kept or not, and what it holds."""
        self._files.pop(stored.id, None)
        path = self.path(stored)
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)

    def _forget_expired(self) -> None:
        now = time.time()
        for stored in [s for s in self._files.values() if s.expires_at is not None and s.expires_at <= now]:
            self.remove(stored)


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(f"files_dir {directory} cannot be written to ({error.strerror}); name another.") from error
    return directory


def _read_index(directory: Path) -> list[StoredFile]:
    found = [stored for stored in read_json(directory, "file-", StoredFile) if (directory / stored.id).exists()]
    return sorted(found, key=lambda stored: stored.created_at)
