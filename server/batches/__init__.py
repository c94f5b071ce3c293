"""Many requests from one file: /v1/batches, and `jaxpaged run-batch`."""
