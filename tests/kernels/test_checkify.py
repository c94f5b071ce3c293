"""No index of paged attention leaves its array, seen by checkify: a device would clamp it, wrap it or drop it."""

from collections.abc import Callable
from functools import cache, partial

import jax
import numpy as np
import pytest
from jax import lax
from jax._src.checkify import error_checks
from jax.experimental import checkify
from jax.lax import GatherScatterMode

from pallas_kernels.paged_attention import PagedAttentionResult, paged_attention, pool_layout
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, make
from pallas_kernels.paged_attention.example_specs import BY_NAME, Spec
from tests.kernels.batches import with_page_table

CPU = pool_layout("cpu")
# Page and block edges, padded sequences and tokens, a table wider than any sequence.
BATCH = Batch(((0, 1), (15, 1), (16, 1), (127, 1), (0, 18), (95, 7)), sequences=8, tokens=40, table_width=12, pages=30)
ALL_AT_ONCE = BY_NAME["all_at_once"]
SPECS = [ALL_AT_ONCE, pytest.param(BY_NAME["gqa4_page16"], marks=pytest.mark.matrix)]
IMPLEMENTATIONS = ["reference", "xla"]


@pytest.fixture(autouse=True)
def drops_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scatter that says mode="drop" says what happens to an index outside; checkify reports it all the same."""
    check = error_checks[lax.scatter_p]

    def unless_dropped(ctx, error, enabled, operand, indices, updates, **params):
        if params["mode"] == GatherScatterMode.FILL_OR_DROP:
            return error, lax.scatter_p.bind(operand, indices, updates, **params)
        return check(ctx, error, enabled, operand, indices, updates, **params)

    monkeypatch.setitem(error_checks, lax.scatter_p, unless_dropped)


@cache
def checked(spec: Spec, implementation: str) -> Callable[..., tuple[checkify.Error, PagedAttentionResult]]:
    attention = partial(paged_attention, score=spec.score, layout=CPU, implementation=implementation)
    return jax.jit(checkify.checkify(attention, errors=checkify.index_checks))


def problem(spec: Spec, arrays: Arrays, implementation: str) -> str | None:
    error, _ = checked(spec, implementation)(*arrays.args, **arrays.options)
    return error.get()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_valid_step_stays_inside_of_every_array(spec: Spec, implementation: str) -> None:
    assert problem(spec, make(spec, BATCH, CPU), implementation) is None


def test_a_step_of_padding_alone_stays_inside_too() -> None:
    spec = ALL_AT_ONCE
    empty = make(spec, Batch((), sequences=8, tokens=40, table_width=12, pages=30), CPU)
    for implementation in IMPLEMENTATIONS:
        assert problem(spec, empty, implementation) is None


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("page", [30, 1 << 20])
def test_a_page_that_is_not_there_is_seen(page: int, implementation: str) -> None:
    """What the check is worth: the same call with one wrong page id."""
    spec = ALL_AT_ONCE
    arrays = make(spec, BATCH, CPU)
    table = np.array(arrays.sequences.page_table)
    table[3, 6] = page  # within the window
    wrong = with_page_table(arrays, table)
    assert "out-of-bounds" in (problem(spec, wrong, implementation) or "")
