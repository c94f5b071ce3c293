"""A checkpoint's tensors against those that the rules ask for: what is wrong, in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxpaged.models.weight_rules import WeightRules

Shape = tuple[int, ...]
Available = Mapping[str, tuple[Shape, DTypeLike]]
Expected = Mapping[str, tuple[Shape, np.dtype | None]]  # None: any float type
NAMES_SHOWN = 8
HEAD = "head.weight"
_QUANTIZED = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|absmax|SCB|weight_packed|weight_scale(_inv|_2)?|weight_zero_point|input_scale)$"
)
_ADAPTER = re.compile(r"\.lora_[AB]\.")


def compare(expected: Expected, available: Available, ignored: Collection[str]) -> str:
    """What is missing, unexpected, of another shape or of a wrong type; "" for nothing."""
    present = {name: (*expected[name], *available[name]) for name in expected.keys() & available.keys()}
    wrong_shape = [
        f"{name}: {list(shape)} instead of {list(wanted)}"
        for name, (wanted, _, shape, _) in present.items()
        if tuple(shape) != wanted
    ]
    no_float = [
        f"{name}: {jnp.dtype(dtype)}"
        for name, (_, wanted, _, dtype) in present.items()
        if wanted is None and not jnp.issubdtype(dtype, jnp.floating)
    ]
    wrong_type = [
        f"{name}: {jnp.dtype(dtype)} instead of {wanted}"
        for name, (_, wanted, _, dtype) in present.items()
        if wanted is not None and jnp.dtype(dtype) != wanted
    ]
    problems = [
        _listed("missing", expected.keys() - available.keys()),
        _listed("unexpected", available.keys() - expected.keys() - set(ignored)),
        _listed("of another shape", wrong_shape),
        _listed("not of a float type", no_float),
        _listed("of another type", wrong_type),
    ]
    return "; ".join(filter(None, problems))


def advice(rules: WeightRules, expected: Collection[str], available: Collection[str]) -> str:
    """What to do about a checkpoint that does not fit: a sentence."""
    missing, others = set(expected) - set(available), set(available) - set(expected)
    if any(_QUANTIZED.search(name) for name in others):
        return "Its tensors are quantized in a form that is not read yet; serve the model's unquantized checkpoint."
    if any(_ADAPTER.search(name) for name in others):
        return "It holds an adapter's tensors; merge the adapter into its base model and serve the result."
    if missing and missing <= {rule.source for rule in rules.rules if rule.target.startswith("head.")}:
        return "A model without a head gives embeddings, not text; take one that generates."
    return "Fetch both again, from the same place."


def ignored_names(rules: WeightRules, targets: Collection[str], layers: int, unused: Collection[str]) -> set[str]:
    """Those of the unused tensors that may be left over. targets: the model's parameters; layers: how many it has."""
    # Without a head of its own, a model's head is the embedding table, even where the checkpoint holds a copy of it.
    heads = () if HEAD in targets else (rule for rule in rules.rules if rule.target == HEAD)
    copies = {name for rule in heads for name in (rule.source, *rule.aliases)}
    patterns = [rf"(?:{pattern})$" for pattern in rules.ignored]
    further = _further_layers(rules, layers, unused)
    return {name for name in unused if name in copies or any(re.search(each, name) for each in patterns)} | further


def _further_layers(rules: WeightRules, layers: int, names: Collection[str]) -> set[str]:
    """The names of tensors of layers behind the model's last, where the family has such."""
    if not rules.further_layers:
        return set()
    start = re.compile(re.escape(rules.further_layers).replace(r"\{i\}", r"(\d+)"))
    return {name for name in names if (found := start.match(name)) and int(found[1]) >= layers}


def _listed(what: str, names: Sequence[str] | set[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} tensor{'s' * (len(names) > 1)} {what} ({', '.join(sorted(names)[:NAMES_SHOWN])}{more})"
