"""Where every tensor of a checkpoint goes: rules are data, and a plan exists only if they are a bijection.

    plan = plan_weights(architecture.weights, decoder, {name: (shape, dtype), ...})
    for piece in plan.slices:
        arrays = piece.assemble(*(read(name) for name in piece.sources))

arrays[j] is leaf piece.leaves[j] of decoder.params: its layer number piece.index, or all of it where it has no layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxpaged.decoder.parameters import HasParameters, Weight
from jaxpaged.errors import WeightError
from jaxpaged.models.weight_rules import Rule, WeightRules
from jaxpaged.quant.scheme import PackedFormat
from jaxpaged.weights.assembly import Assembly, Take
from jaxpaged.weights.comparison import Available, Expected, advice, compare, ignored_names


@dataclass(frozen=True, slots=True)
class Slice:
    """One layer of one parameter. The arrays that `assemble` returns belong to the leaves `leaves`, in order.

    index: the place on the leaves' layer axis; 0 for leaves without one. sources: tensor names, in argument order.
    """

    target: str
    leaves: tuple[int, ...]
    index: int
    sources: tuple[str, ...]
    assemble: Assembly


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """Every slot of every leaf exactly once, and every tensor of the checkpoint exactly once or ignored by name."""

    slices: tuple[Slice, ...]
    ignored: tuple[str, ...]


def plan_weights(rules: WeightRules, decoder: HasParameters, available: Available) -> WeightPlan:
    """Match a checkpoint's tensors with a decoder's parameters, before anything is read.

    Raises WeightError naming every tensor that is missing, unexpected, mis-shaped or of a wrong type.
    """
    slices = _slices(rules, decoder, available)
    problems, ignored = _compare(rules, decoder, slices, available)
    if problems:
        mend = advice(rules, [name for piece in slices for name in piece.sources], available.keys())
        raise WeightError(f"the checkpoint does not fit its config.json: {problems}. {mend}")
    return WeightPlan(tuple(slices), ignored)


def plan_update(rules: WeightRules, decoder: HasParameters, available: Available) -> WeightPlan:
    """The slices that some new tensors replace. Tensors that are stored together (q, k, v) must come together.

    Raises WeightError naming every tensor that is missing, unexpected, mis-shaped or of a wrong type.
    """
    touched = [piece for piece in _slices(rules, decoder, available) if not available.keys().isdisjoint(piece.sources)]
    problems, ignored = _compare(rules, decoder, touched, available)
    if problems:
        raise WeightError(f"the new weights do not fit the model: {problems}.")
    return WeightPlan(tuple(touched), ignored)


def usual_slices(rules: WeightRules, decoder: HasParameters) -> list[Slice]:
    """The slices of a checkpoint of plain tensors under their usual names."""
    return _slices(rules, decoder, {})


def _compare(
    rules: WeightRules, decoder: HasParameters, slices: Sequence[Slice], available: Available
) -> tuple[str, tuple[str, ...]]:
    """What is wrong with the tensors, in words ("" for nothing), and those of them that are ignored."""
    expected: Expected = {
        name: (tensor.shape, tensor.dtype)
        for piece in slices
        for name, tensor in zip(piece.sources, piece.assemble.sources(), strict=True)
    }
    targets = {weight.target for weight in decoder.weights}
    layers = 1 + max((layer for weight in decoder.weights for layer in weight.layers), default=-1)
    ignored = ignored_names(rules, targets, layers, available.keys() - expected.keys())
    return compare(expected, available, ignored), tuple(sorted(ignored))


def _slices(rules: WeightRules, decoder: HasParameters, available: Available) -> list[Slice]:
    return [
        _piece(rules, weight, index, available)
        for weight in decoder.weights
        for index in range(max(1, len(weight.layers)))
    ]


def _piece(rules: WeightRules, weight: Weight, index: int, available: Available) -> Slice:
    """Of packed tensors where the scheme has such and the checkpoint holds any of them, else of plain ones."""
    layer = weight.layers[index] if weight.layers else None
    target = weight.target if layer is None else weight.target.format(i=layer)
    applying = [rule for rule in rules.rules if rule.target == weight.target]
    if not applying:
        raise ValueError(f"the family has no rule for {weight.target}")
    formats = (None,) if weight.scheme.packed is None else (weight.scheme.packed, None)
    for packed in formats:
        assembly = _assembly(weight, applying, packed)
        sources = _sources(rules, applying, layer, assembly, available)
        if not available.keys().isdisjoint(sources):
            break
    return Slice(target, weight.leaves, index, sources, assembly)


def _assembly(weight: Weight, applying: Sequence[Rule], packed: PackedFormat | None) -> Assembly:
    form = weight.form
    for rule in applying:
        if "{e}" in rule.source and not form.experts:
            raise ValueError(f"the rule for {rule.source} names experts, but {weight.target} has no expert axis")
    every = tuple(form.parts())
    takes = tuple(
        Take(every if rule.part is None else (rule.part,), rule.transform, "{e}" in rule.source) for rule in applying
    )
    return Assembly(weight.parameter, form, weight.scheme, takes, packed)


def _sources(
    rules: WeightRules, applying: Sequence[Rule], layer: int | None, assembly: Assembly, available: Available
) -> tuple[str, ...]:
    """The tensors' names, in the order of assembly.sources()."""
    names: list[str] = []
    for rule, take in zip(applying, assembly.takes, strict=True):
        for expert in range(assembly.form.experts if take.each_expert else 1):
            candidates = _candidates(rules, rule, layer, expert)
            names += [_find(candidates, word, available) for word in assembly.words(take)]
    return tuple(names)


def _candidates(rules: WeightRules, rule: Rule, layer: int | None, expert: int) -> list[str]:
    """The names under which checkpoints have the plain tensor, the usual one first."""
    names = [name.format(i=layer, e=expert) for name in (rule.source, *rule.aliases)]
    return names + [name.removeprefix(rules.prefix) for name in names]


def _find(candidates: Sequence[str], word: str, available: Available) -> str:
    """The name that the checkpoint has; where it has none, the usual one. `word`: the last one of a packed tensor's."""
    names = [f"{name.rpartition('.')[0]}.{word}" if word else name for name in candidates]
    return next((name for name in names if name in available), names[0])
