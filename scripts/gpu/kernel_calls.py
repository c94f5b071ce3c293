"""The kernels in a program with what they are given, whatever stands around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

KERNEL = "custom_vmap_call"  # what plgpu.kernel makes in a jaxpr of jax 0.11
NAME = re.compile(r"\bpaged_(\w+)")


@dataclass(frozen=True)
class KernelCall:
    """One kernel: call(*operands) gives its outputs."""

    name: str
    call: Callable[..., Any]


def kernel_calls(program: Callable[..., Any], *args: Any) -> tuple[list[KernelCall], Callable[..., Any]]:
    """The kernels of program(*args) in order, and a function of args that gives the operands of each.

    Of a conditional the branch that holds a kernel is taken to run. Arguments may be shapes.
    """
    closed = jax.make_jaxpr(program)(*args)
    found: list[KernelCall] = []
    operands = _collector(closed, found)
    jax.eval_shape(operands, *args)
    calls = list(found)
    return calls, operands


def _collector(closed: Any, found: list[KernelCall]) -> Callable[..., Any]:
    def operands(*args: Any) -> list[Any]:
        found.clear()
        collected: list[Any] = []
        _evaluate(closed, jax.tree.leaves(args), found, collected)
        return collected

    return operands


def _evaluate(closed: Any, args: Sequence[Any], found: list[KernelCall], collected: list[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= zip(closed.jaxpr.invars, args, strict=True)

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in closed.jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        results = _apply(equation, given, found, collected)
        values |= zip(equation.outvars, results, strict=True)
    return [read(variable) for variable in closed.jaxpr.outvars]


def _apply(equation: Any, given: list[Any], found: list[KernelCall], collected: list[Any]) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name == KERNEL:
        collected.append(given)
        named = NAME.search(str(params))
        found.append(KernelCall(named[1] if named else f"kernel {len(found)}", _bound(equation)))
    elif name in ("jit", "pjit"):
        return _evaluate(params["jaxpr"], given, found, collected)
    elif name == "cond":
        branch = next((one for one in params["branches"] if KERNEL in str(one)), None)
        if branch is not None:
            return _evaluate(branch, given[1:], found, collected)
    return _bound(equation)(*given)


def _bound(equation: Any) -> Callable[..., list[Any]]:
    def call(*operands: Any) -> list[Any]:
        results = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
        return results if equation.primitive.multiple_results else [results]

    return call
