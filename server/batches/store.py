"""The batches that the server knows, on disk too where its files are, so that a restart does not forget them."""

from __future__ import annotations

from pathlib import Path

from server.batches.batch import Batch
from server.errors import ApiError
from server.files.records import read_json, write_json
from server.files.store import FileStore

MAX_BATCHES = 10_000  # the oldest ones that have ended are forgotten


class BatchStore:
    """Batches that a restart has cut off have failed."""

    def __init__(self, files: FileStore, *, persistent: bool) -> None:
        self._files = files
        self._batches: dict[str, Batch] = {}
        if persistent:
            self._read()

    def put(self, batch: Batch) -> None:
        """Keep a batch in the state that it is in now."""
        self._batches[batch.id] = batch
        write_json(self._path(batch), batch)
        if len(self._batches) > MAX_BATCHES:
            for old in [known for known in self._batches.values() if known.has_ended][: MAX_BATCHES // 10]:
                del self._batches[old.id]
                self._path(old).unlink(missing_ok=True)

    def get(self, owner: str, batch_id: str) -> Batch:
        """Raises ApiError (404) for what is unknown or somebody else's."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.owner != owner:
            raise ApiError(404, "There is no such batch.", param="batch_id", code="batch_not_found")
        return batch

    def list(self, owner: str) -> list[Batch]:
        """All of an owner's batches, the newest first."""
        return [batch for batch in reversed(self._batches.values()) if batch.owner == owner]

    def unfinished(self) -> int:
        return sum(not batch.has_ended for batch in self._batches.values())

    def _path(self, batch: Batch) -> Path:
        return self._files.directory / f"{batch.id}.json"

    def _read(self) -> None:
        for batch in sorted(read_json(self._files.directory, "batch_", Batch), key=lambda batch: batch.created_at):
            if not batch.has_ended:
                batch.fail("server_restarted", "The server was restarted before the batch was done; create it again.")
            self._batches[batch.id] = batch
