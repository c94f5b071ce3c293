"""What runs in an engine's own Python (3.11 and newer): an engine, and the workloads on it."""
