"""Where arrays live: the device mesh, and one table from logical axes to mesh axes."""
