"""Children that abort, raise, hang, lie or never start: the other parts' figures still come out."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpu.groups import BY_XLA, Group
from gpu.watch import Launch, Outcome, run_group


def outcomes(
    group: Group, tmp_path: Path, faults: Mapping[str, str] | None = None, seconds: float = 120.0
) -> dict[str, Outcome]:
    told: list[Outcome] = []
    log = (tmp_path / "log.txt").open("ab")
    launch = Launch(
        tmp_path, False, faults or {}, told.append, lambda _, text: log.write(text) and None, lambda _: None,
        "tests.gpu.rehearsal",
    )  # fmt: skip
    run_group(group, launch, time.monotonic() + seconds)
    log.close()
    again = [one.part for one in told if not one.part.startswith("start")]  # what is needed runs in each child
    assert len(set(again)) == len(again)
    return {one.part: one for one in told}


def statuses(told: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: one.status for name, one in told.items()}


ALL = {"one": "ok", "two": "ok", "three": "ok", "four": "ok", "left out": "skipped"}


def test_parts_come_in_order_with_their_figures(tmp_path: Path) -> None:
    told = outcomes(Group("a group", "parts", 60.0), tmp_path)
    assert list(statuses(told).items()) == list(ALL.items())
    assert told["one"].figures == {"ms": 1}
    assert told["left out"].detail == "nothing to do here"
    assert b"last words" in (tmp_path / "log.txt").read_bytes()


@pytest.mark.parametrize(("kind", "status"), [("abort", "abort"), ("raise", "raise"), ("hang", "hang")])
def test_after_a_fault_the_others_run_in_a_fresh_child(kind: str, status: str, tmp_path: Path) -> None:
    told = outcomes(Group("a group", "parts", 60.0), tmp_path, {"two": kind})
    assert statuses(told) == ALL | {"two": status}
    assert told["four"].figures == {"ms": 1}
    if kind == "abort":
        assert told["two"].detail == "signal 6; last line: the last words of the child"


def test_a_device_that_answers_no_more_ends_the_child_and_the_others_run_in_a_fresh_one(tmp_path: Path) -> None:
    told = outcomes(Group("a group", "parts", 60.0), tmp_path, {"one": "raise", "sick": "raise"})
    assert statuses(told) == ALL | {"one": "raise"}
    assert (tmp_path / "log.txt").read_text().count("last words") == 2


def test_an_exit_in_the_middle_is_an_abort(tmp_path: Path) -> None:
    told = outcomes(Group("a group", "exits", 60.0), tmp_path)
    assert statuses(told) == {"one": "ok", "killed": "abort", "two": "ok"}
    assert told["killed"].detail.startswith("exit 134")


def test_a_start_that_fails_is_tried_in_the_other_way(tmp_path: Path) -> None:
    told = outcomes(Group("engine", "engine", 60.0, fallbacks=(BY_XLA,)), tmp_path)
    by_xla = {f"{name}, attention by XLA": "ok" for name in ("start", "one", "two")}
    assert statuses(told) == {"start": "raise"} | by_xla


def test_a_part_that_aborts_is_measured_again_in_the_other_way(tmp_path: Path) -> None:
    engine = Group("engine", "engine", 60.0, fallbacks=(BY_XLA,))
    told = outcomes(engine, tmp_path, {"start": "abort", "one, attention by XLA": "abort"})
    assert statuses(told)["start"] == "abort"
    assert statuses(told)["start, attention by XLA"] == "ok"
    assert statuses(told)["one, attention by XLA"] == "abort"
    assert statuses(told)["two, attention by XLA"] == "ok"


def test_what_needs_a_start_that_no_way_gives_is_skipped(tmp_path: Path) -> None:
    for kind in ("raise", "abort"):
        told = outcomes(Group("engine", "engine", 60.0), tmp_path, {"start": kind})
        assert statuses(told) == {"start": kind, "one": "skipped", "two": "skipped"}
        assert "needs what failed: start" in told["one"].detail


def test_a_child_that_does_not_start_is_one_outcome(tmp_path: Path) -> None:
    told = outcomes(Group("a group", "no such group", 60.0), tmp_path)
    assert statuses(told) == {"start of the process": "abort"}


def test_when_the_time_is_up_the_child_is_ended_and_the_rest_is_named(tmp_path: Path) -> None:
    told = outcomes(Group("a group", "slow", 60.0), tmp_path, seconds=2.0)
    assert set(statuses(told).values()) == {"skipped"}
    late = outcomes(Group("a group", "parts", 60.0), tmp_path, seconds=-1.0)
    assert statuses(late) == {"all parts": "skipped"}
