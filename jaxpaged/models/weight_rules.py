"""Which tensor of a checkpoint belongs to which parameter, as data: a family's rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rule:
    """One tensor name of a checkpoint, and what it is part of. `{i}` stands for the layer in both names.

    `{e}` in the source stands for the expert: the tensors of all experts are stacked, for a target that has an expert
    axis. Without it, one tensor holds all experts. For the norms of single heads it stands for the head.
    part: which part of a fused target it is (q, k, v; gate, up); None: all of the target's parts.
    transform: how the tensor gives the parts. None: it is one part. rows: all parts, one below the other. interleaved:
    the parts in turn, in fused attention by key-value head (its queries, its key, its value), else row by row.
    transpose, transpose_rows, transpose_interleaved: the same for tensors in [in, out] order. one_row: one part, as a
    matrix of a single row.
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
    """A family's rules. prefix: what some checkpoints leave out at the head of names. ignored: patterns of buffers.

    further_layers: how the names of a layer's tensors begin, with `{i}`, where those of layers behind the last (which
    predict several tokens at once) may be left over.
    """

    rules: tuple[Rule, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    further_layers: str = ""


def tower_rules(
    rules: Iterable[Rule], prefixes: tuple[str, ...], *, strip: str = "", target: str = ""
) -> tuple[Rule, ...]:
    """The rules of a model that is one tower (vision, language) of another.

    prefixes: what the tower's tensors are called by in the whole checkpoint, in place of `strip`; the usual one first.
    Names that do not begin with `strip` (a head beside the tower) stay. target: put before the parameters' names.
    """

    def renamed(rule: Rule) -> Rule:
        names = [
            prefix + name.removeprefix(strip) if name.startswith(strip) else name
            for name in (rule.source, *rule.aliases)
            for prefix in prefixes
        ]
        source, *aliases = dict.fromkeys(names)
        return replace(rule, source=source, aliases=tuple(aliases), target=target + rule.target)

    return tuple(map(renamed, rules))
