"""Programs are compiled once, before ready; what was not compiled is refused; every compile is counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.errors import CompileGuardError
from jaxpaged.execution.compiler import CompileCounter, Program, ProgramTable
from jaxpaged.sampling.variant import Variant

SHAPE = jax.ShapeDtypeStruct((4,), jnp.float32)


def add(x: jax.Array, y: jax.Array) -> jax.Array:
    return x + y


def programs(count: int) -> list[Program]:
    """Of a function that nothing compiled before: jax remembers those of this process."""

    def fresh(x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y

    return [
        Program(("add", size), fresh, (jax.ShapeDtypeStruct((size,), jnp.float32),) * 2) for size in range(1, count)
    ]


@pytest.fixture
def counter() -> CompileCounter:
    counter = CompileCounter()
    yield counter
    counter.close()


def test_all_programs_are_compiled_and_run_without_another_compile(counter: CompileCounter) -> None:
    table = ProgramTable(threads=2)
    table.compile(programs(6), progress=False)
    compiled = counter.count
    assert compiled >= 5
    assert set(table.compiled) == {("add", size) for size in range(1, 6)}
    x = jax.device_put(np.array([1, 2, 3], np.float32))
    before = counter.count
    assert table["add", 3](x, x).tolist() == [2.0, 4.0, 6.0]
    assert counter.count == before
    assert table.seconds > 0


def test_a_program_that_the_table_holds_is_not_compiled_again(counter: CompileCounter) -> None:
    table = ProgramTable(threads=1)
    table.compile(programs(3), progress=False)
    held, before = dict(table.compiled), counter.count
    table.compile(programs(4), progress=False)
    assert counter.count == before + 1
    assert all(table.compiled[key] is program for key, program in held.items())


def test_what_was_not_compiled_is_refused_by_name() -> None:
    table = ProgramTable(threads=1)
    table.compile(programs(3), progress=False)
    with pytest.raises(CompileGuardError, match=r"add.*99"):
        table["add", 99]


def test_other_shapes_are_refused_not_compiled() -> None:
    table = ProgramTable(threads=1)
    table.compile(programs(3), progress=False)
    with pytest.raises(TypeError):
        table["add", 2](jnp.ones(3), jnp.ones(3))


def test_donated_arguments_are_overwritten() -> None:
    table = ProgramTable(threads=1)
    table.compile([Program(("add",), add, (SHAPE, SHAPE), donate=(0,))], progress=False)
    x, y = jnp.ones(4), jnp.ones(4)
    table["add",](x, y)
    assert x.is_deleted()
    assert not y.is_deleted()


def test_a_failing_compile_is_not_swallowed() -> None:
    def broken(x: jax.Array) -> jax.Array:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ProgramTable(threads=1).compile([Program(("broken",), broken, (SHAPE,))], progress=False)


def test_every_compile_is_counted_until_closed(counter: CompileCounter) -> None:
    x = jnp.ones(5)
    before = counter.count
    jax.jit(lambda x: x * 3 + 1)(x)
    assert counter.count == before + 1
    counter.close()
    jax.jit(lambda x: x * 3 + 2)(x)
    assert counter.count == before + 1
    jax.monitoring.register_event_duration_secs_listener(counter._on_event)


def test_inside_the_guard_a_compile_is_refused_on_this_thread_only(counter: CompileCounter) -> None:
    def known(x: jax.Array) -> jax.Array:
        return x * 5

    x = jnp.ones(5)
    jax.jit(known)(x)
    with counter.refusing():
        jax.jit(known)(x)
        with pytest.raises(CompileGuardError, match="after ready"):
            jax.jit(lambda x: x * 5 + 1)(x)
        with ThreadPoolExecutor(1) as other:
            other.submit(jax.jit(lambda x: x * 5 + 2), x).result()
    jax.jit(lambda x: x * 5 + 3)(x)


def test_names_for_the_progress_bar() -> None:
    assert Program(("sample", Variant.GREEDY, 8), add, ()).name == "sample greedy 8"
