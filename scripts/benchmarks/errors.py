"""What goes wrong with one engine or one benchmark, and is a row's reason."""


class EngineFailed(RuntimeError):
    """An engine did not start, died, or answered with an error."""


class Skipped(Exception):
    """There is nothing to measure here; the text says why."""
