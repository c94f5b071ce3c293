"""What an earlier start has traced is not traced again; a directory of no use is a slower start and one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.execution.compiler import Program
from jaxpaged.execution.traced_programs import TracedPrograms

SHAPE = jax.ShapeDtypeStruct((4,), jnp.float32)
traces: list[str] = []


class Result(NamedTuple):
    total: jax.Array
    parts: dict[str, jax.Array]


def add(pair: dict[str, jax.Array], y: jax.Array) -> Result:
    traces.append("add")
    return Result(pair["x"] + y, {"twice": 2 * y})


RESULTS = Result(0, {"twice": 0})
PROGRAM = Program(("add", 4), add, ({"unused": SHAPE, "x": SHAPE}, SHAPE), donate=(1,), results=RESULTS)


def run(directory: Path, origin: str = "origin", program: Program = PROGRAM) -> int:
    """Lower, compile and run as in a new process; how often the function was traced."""
    jax.clear_caches()
    traces.clear()
    compiled = TracedPrograms(directory).lower(origin, program).compile()
    x, y = (jax.device_put(np.arange(4, dtype=np.float32)) for _ in range(2))
    result = compiled({"unused": x, "x": x}, y)
    assert isinstance(result, Result)
    assert result.total.tolist() == result.parts["twice"].tolist() == [0, 2, 4, 6]
    assert (x.is_deleted(), y.is_deleted()) == (False, 1 in program.donate)
    return len(traces)


def test_a_program_is_traced_once(tmp_path: Path) -> None:
    assert [run(tmp_path / "traced") for _ in range(3)] == [1, 0, 0]


def test_another_origin_or_key_or_donation_is_another_program(tmp_path: Path) -> None:
    others = (
        ("other", PROGRAM),
        ("origin", replace(PROGRAM, key=("add", 5))),
        ("origin", replace(PROGRAM, donate=())),
    )
    assert run(tmp_path) == 1
    assert [run(tmp_path, origin, program) for origin, program in others] == [1, 1, 1]


@pytest.mark.parametrize("left", [0, 10, 500], ids=["empty", "no checksum", "half"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, left: int, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:left])
    assert [run(tmp_path), run(tmp_path)] == [1, 0]
    assert [record.getMessage().count("damaged entries") for record in caplog.records] == [1]


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    programs = TracedPrograms(tmp_path / "file")
    for size in (4, 5):
        programs.lower("origin", replace(PROGRAM, key=("add", size)))
    assert [record.getMessage().count("this start is slower") for record in caplog.records] == [1]


def test_no_half_written_entry_is_left(tmp_path: Path) -> None:
    run(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".traced"]


def test_results_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not like its `results`"):
        run(tmp_path, program=replace(PROGRAM, results=(0, 0)))
