"""Where every tensor of a checkpoint goes: rules are data, and a plan exists only if they are a bijection.

    plan = plan_weights(architecture.weights, decoder, {name: (shape, dtype), ...})
    for piece in plan.slices:
        arrays = piece.assemble(*(read(name) for name in piece.sources))

arrays[j] is leaf piece.leaves[j] of decoder.params: its layer number piece.index, or all of it where it has no layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxpaged.decoder.functional import FunctionalDecoder, Weight
from jaxpaged.errors import WeightError
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules
from jaxpaged.weights.assembly import Assembly

Available = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
NAMES_SHOWN = 8


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


def plan_weights(rules: WeightRules, decoder: FunctionalDecoder, available: Available) -> WeightPlan:
    """Match a checkpoint's tensors with a decoder's parameters, before anything is read.

    Raises WeightError naming every tensor that is missing, unexpected, mis-shaped or not of a float type.
    """
    slices = _slices(rules, decoder, available)
    problems, ignored = _compare(rules, decoder, slices, available)
    if problems:
        raise WeightError(
            f"the checkpoint does not fit its config.json: {problems}. Fetch both again, from the same place."
        )
    return WeightPlan(tuple(slices), ignored)


def plan_update(rules: WeightRules, decoder: FunctionalDecoder, available: Available) -> WeightPlan:
    """The slices that some new tensors replace. Tensors that are stored together (q, k, v) must come together.

    Raises WeightError naming every tensor that is missing, unexpected, mis-shaped or not of a float type.
    """
    touched = [piece for piece in _slices(rules, decoder, available) if not available.keys().isdisjoint(piece.sources)]
    problems, ignored = _compare(rules, decoder, touched, available)
    if problems:
        raise WeightError(f"the new weights do not fit the model: {problems}.")
    return WeightPlan(tuple(touched), ignored)


def _slices(rules: WeightRules, decoder: FunctionalDecoder, available: Available) -> list[Slice]:
    return [
        _piece(rules, decoder, weight, index, available)
        for weight in decoder.weights
        for index in range(max(1, len(weight.layers)))
    ]


def _piece(rules: WeightRules, decoder: FunctionalDecoder, weight: Weight, index: int, available: Available) -> Slice:
    layer = weight.layers[index] if weight.layers else None
    applying = [rule for rule in rules.rules if rule.target == weight.target]
    if not applying:
        raise ValueError(f"the family has no rule for {weight.target}")
    every = tuple(weight.form.parts())
    assembly = Assembly(
        form=weight.form,
        takes=tuple((every if rule.part is None else (rule.part,), rule.transform) for rule in applying),
        dtype=weight.dtype,
        quantize=weight.inputs if len(weight.leaves) > 1 else 0,
    )
    target = weight.target if layer is None else weight.target.format(i=layer)
    sources = tuple(_find(rules, rule, layer, available) for rule in applying)
    return Slice(target, weight.leaves, index, sources, assembly)


def _find(rules: WeightRules, rule: Rule, layer: int | None, available: Available) -> str:
    """The name under which the checkpoint has the tensor; where it has none, the usual name."""
    names = [name if layer is None else name.format(i=layer) for name in (rule.source, *rule.aliases)]
    names += [name.removeprefix(rules.prefix) for name in names]
    return next((name for name in names if name in available), names[0])


def _is_ignored(rules: WeightRules, spec: DecoderSpec, name: str) -> bool:
    # A tied model's head is the embedding table, even where the checkpoint holds a copy of it.
    heads = (rule for rule in rules.rules if rule.target == "head.weight" and spec.head.tied)
    copies = {name for rule in heads for name in (rule.source, *rule.aliases)}
    return name in copies or any(re.search(rf"(?:{pattern})$", name) for pattern in rules.ignored)


def _compare(
    rules: WeightRules, decoder: FunctionalDecoder, slices: Sequence[Slice], available: Available
) -> tuple[str, tuple[str, ...]]:
    """What is wrong with the tensors, in words ("" for nothing), and those of them that are ignored."""
    used = {name for piece in slices for name in piece.sources}
    ignored = {name for name in available.keys() - used if _is_ignored(rules, decoder.spec, name)}
    expected = {
        name: shape
        for piece in slices
        for name, shape in zip(piece.sources, piece.assemble.source_shapes(), strict=True)
    }
    present = {name: available[name] for name in expected.keys() & available.keys()}
    wrong_shape = [
        f"{name}: {list(shape)} instead of {list(expected[name])}"
        for name, (shape, _) in present.items()
        if tuple(shape) != expected[name]
    ]
    wrong_type = [f"{n}: {jnp.dtype(d)}" for n, (_, d) in present.items() if not jnp.issubdtype(d, jnp.floating)]
    problems = [
        _listed("missing", expected.keys() - available.keys()),
        _listed("unexpected", available.keys() - used - ignored),
        _listed("of another shape", wrong_shape),
        _listed("not of a float type", wrong_type),
    ]
    return "; ".join(filter(None, problems)), tuple(sorted(ignored))


def _listed(what: str, names: Sequence[str] | set[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} tensor{'s' * (len(names) > 1)} {what} ({', '.join(sorted(names)[:NAMES_SHOWN])}{more})"
