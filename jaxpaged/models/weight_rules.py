"""Which tensor of a checkpoint belongs to which parameter, as data: a family's rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One tensor name of a checkpoint, and what it is part of. `{i}` stands for the layer in both names.

    part: which part of a fused target it is (q, k, v; gate, up); None: all of the target's parts.
    transform: how the tensor gives the parts. None: it is one part. rows: all parts, one below the other. interleaved:
    per head its query, key, value. transpose, transpose_rows: the same for tensors in [in, out] order.
    aliases: other names that checkpoints use for the same tensor.
    A rule whose target the decoder lacks (a bias, say) does not apply.
    """

    source: str
    target: str
    part: str | None = None
    transform: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightRules:
    """A family's rules. prefix: what some checkpoints leave out at the head of names. ignored: patterns of buffers."""

    rules: tuple[Rule, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
