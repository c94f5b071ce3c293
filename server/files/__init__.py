"""Files that clients upload and that batches write: /v1/files."""
