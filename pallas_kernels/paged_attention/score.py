"""What is done to the scores of attention: a static value, resolved while tracing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreMod:
    """score = soft_cap(scale * q.k) + alibi, visible where 0 <= q_pos - k_pos < window and both are in one chunk.

    scale: multiplies q.k. window: keys that a query sees, itself included. soft_cap: cap * tanh(s / cap), before
    ALiBi and masking. chunk: positions are cut into chunks of so many, and a query sees keys of its own; give a window
    of no more than that beside it, so that nothing farther is read. Raises ValueError when a part is out of range.
    """

    scale: float
    window: int | None = None
    soft_cap: float | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ValueError(f"window: {self.window} leaves a query nothing to see; give 1 or more, or None.")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk: {self.chunk} leaves a query nothing to see; give 1 or more, or None.")
        if self.soft_cap is not None and not self.soft_cap > 0:
            raise ValueError(f"soft_cap: {self.soft_cap} must be positive, or None.")
