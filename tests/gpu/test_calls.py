"""The two calls of a lent card: their time, and what is left of one of which a part in every group fails."""

import json
import os
import time
from pathlib import Path

import pytest

from gpu import card
from gpu.call import Call
from gpu.plan import LONGEST, sections
from gpu.report import Report

ENDING, INSTALLING = 10.0, 15.0  # seconds: to end a child that is stuck; to install the wheels that are carried
OTHERS = {"one": "ok", "three": "ok", "four": "ok"}


def test_both_calls_fit_into_twelve_minutes() -> None:
    assert INSTALLING + sum(LONGEST[call] + ENDING for call in ("first", "second")) <= 720


def test_the_calls_leave_the_engine_its_time() -> None:
    first, second = sections("first", quick=False), sections("second", quick=False)
    assert [section.name for section in first] == ["ladder", "specs", "cases", "sweep", "ncu", "engine"]
    assert [section.name for section in second] == ["engine", "more cases"]
    assert LONGEST["first"] - sum(section.most for section in first[:-1]) >= 240
    assert first[-1].most >= 240
    assert LONGEST["second"] - second[0].most >= 60


@pytest.mark.parametrize(("call", "kind"), [("first", "abort"), ("second", "raise")])
def test_a_part_that_fails_in_every_group_leaves_the_others_their_figures(
    call: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ncu(tmp_path, monkeypatch)
    report = Report("a rehearsal", tmp_path / f"{call}.json", tmp_path / "log.txt")
    faults = dict.fromkeys(("two", "two, attention by XLA"), kind)
    code = Call(report, True, faults, time.monotonic() + 120, child="tests.gpu.rehearsal").run(
        sections(call, quick=True)
    )
    assert code == 1
    figures = json.loads((tmp_path / f"{call}.json").read_text())
    groups = [group.name for section in sections(call, quick=True) for group in section.groups]
    for group in groups:
        found = {part.partition(",")[0]: entry["status"] for part, entry in figures[group].items()}
        assert found == OTHERS | {"two": kind}, group


def make_ncu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profiler that only runs what it is to profile: the command begins with a path."""
    tool = tmp_path / "bin" / "ncu"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nwhile [ "${1#/}" = "$1" ]; do shift; done\nexec "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_driver_that_does_not_answer_does_not_take_the_call_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = tmp_path / "nvidia-smi"
    stuck.write_text("#!/bin/sh\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(card.shutil, "which", lambda name: str(stuck))
    monkeypatch.setattr(card, "PATIENCE", 0.2)
    began = time.monotonic()
    assert card.nvidia_smi() == {}
    assert time.monotonic() - began < 30
