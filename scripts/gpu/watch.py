"""Runs a group of parts in a child process: whatever becomes of the child, each part gets an outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu.events import Event, Reader
from gpu.faults import HANG_LIMIT
from gpu.groups import Group, Way

ROOT = Path(__file__).resolve().parents[2]
STARTING = "start of the process"
POLL = 0.05
LONGEST_POLL = 1.0  # a machine that stood still for longer has not waited for the part


@dataclass(frozen=True)
class Outcome:
    """status: ok, wrong, raise, abort, hang or skipped."""

    group: str
    part: str
    status: str
    detail: str = ""
    seconds: float = 0.0
    figures: Any = None


@dataclass(frozen=True)
class Launch:
    """What all children of a run are given. tell: is told each outcome at once; log: gets what a child has printed."""

    out: Path
    quick: bool
    faults: Mapping[str, str]
    tell: Callable[[Outcome], None]
    log: Callable[[str, bytes], None]
    facts: Callable[[Mapping[str, Any]], None]
    child: str = "gpu.child"  # the module


@dataclass
class _Run:
    """What one child came to: the parts that it announced and ended, and the outcome of one that took it along."""

    announced: tuple[str, ...] | None = None
    ended: set[str] = field(default_factory=set)
    running: str = STARTING
    since: float = field(default_factory=time.monotonic)
    fault: tuple[str, str] | None = None  # status, detail


def run_group(group: Group, launch: Launch, until: float) -> None:
    """Run the parts until `until` (time.monotonic); after a fault those that are left run in a fresh child."""
    only, ways = group.parts, list(group.fallbacks)
    while only is None or only:
        if time.monotonic() >= until:
            return _skip(group, only, launch, "no time was left")
        run = _run_child(group, only, launch, until)
        names = run.announced if run.announced is not None else only or ()
        left = tuple(name for name in names if name not in run.ended and name != run.running)
        if run.fault is None:
            return None
        status, detail = run.fault
        if run.running not in run.ended:
            took = time.monotonic() - run.since
            launch.tell(Outcome(group.name, named(run.running, group.way.label), status, detail, took))
        if status == "skipped":
            return _skip(group, left, launch, "no time was left")
        if ways:
            only = names if run.running == STARTING else (run.running, *left)
            only, group = only or None, replace(group, way=ways.pop(0))
        elif run.running == STARTING or status == "needed" or (only and run.running not in only):
            return _skip(group, left, launch, f"it needs what failed: {run.running}")
        else:
            only = left
    return None


def _skip(group: Group, names: tuple[str, ...] | None, launch: Launch, why: str) -> None:
    for name in ("all parts",) if names is None else names:
        launch.tell(Outcome(group.name, named(name, group.way.label), "skipped", why))


def named(part: str, label: str) -> str:
    return f"{part}, {label}" if label else part


def _run_child(group: Group, only: tuple[str, ...] | None, launch: Launch, until: float) -> _Run:
    run = _Run()
    with tempfile.TemporaryDirectory() as directory:
        reader, printed = Reader(Path(directory) / "events"), Path(directory) / "printed"
        with printed.open("wb") as file:
            child = subprocess.Popen(
                _command(group, only, launch, reader.path), cwd=ROOT, env=_environment(group.way),
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            _follow(child, reader, run, group, launch, until)
        finally:
            if child.poll() is None:
                _end(child)
            text = printed.read_bytes()
            launch.log(group.name, text)
        if run.fault is not None and (last := text.decode(errors="replace").strip().splitlines()):
            run.fault = (run.fault[0], f"{run.fault[1]}; last line: {last[-1][-300:]}")
    return run


def _follow(
    child: subprocess.Popen[bytes], reader: Reader, run: _Run, group: Group, launch: Launch, until: float
) -> None:
    """Until the child has ended or must be: sets run.fault unless all went well."""
    watched, last = 0.0, time.monotonic()
    while run.fault is None:
        code, before = child.poll(), run.since
        for event in reader.new():
            _take(event, run, group, launch)
        now = time.monotonic()
        watched = 0.0 if run.since != before else watched + min(now - last, LONGEST_POLL)
        last = now
        if run.fault is not None:
            return
        if code is not None:
            run.fault = _early_end(run, code)
            return
        limit = _limit(run.running, group, launch)
        if now > until:
            run.fault = ("skipped", f"cut off after {watched:.0f} s: the time was up")
        elif watched > limit:
            run.fault = ("hang", f"ended after {limit:.0f} s")
        time.sleep(POLL)


def _early_end(run: _Run, code: int) -> tuple[str, str] | None:
    """Of a child that has ended by itself; nothing where all its parts had."""
    left = [name for name in run.announced or () if name not in run.ended]
    run.running = run.running or next(iter(left), "")
    return ("abort", f"signal {-code}" if code < 0 else f"exit {code}") if run.running else None


def _take(event: Event, run: _Run, group: Group, launch: Launch) -> None:
    if event.kind == "ready":
        run.announced = tuple(event.names)
        run.running, run.since = "", time.monotonic()
        launch.facts(event.figures)
    elif event.kind == "begin":
        run.running, run.since = event.name, time.monotonic()
    elif event.kind == "end":
        run.ended.add(event.name)
        name = named(event.name, group.way.label)
        launch.tell(Outcome(group.name, name, event.status, event.detail, event.seconds, event.figures))
        run.running, run.since = "", time.monotonic()
    elif event.kind in ("needed", "sick"):
        run.running, run.fault = event.name, (event.kind, event.detail)


def _limit(running: str, group: Group, launch: Launch) -> float:
    if launch.faults.get(named(running, group.way.label)) == "hang":
        return HANG_LIMIT
    return group.start if running == STARTING else group.limit


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it and what it started. One that is stuck in the driver is left alone after 10 s."""
    for sent, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 8.0)):
        try:
            os.killpg(child.pid, sent)
            child.wait(patience)
            return
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue


def _command(group: Group, only: tuple[str, ...] | None, launch: Launch, events: Path) -> list[str]:
    words = [*group.prefix, sys.executable, "-m", launch.child, group.tasks, "--events", str(events)]
    words += ["--out", str(launch.out), "--attention", group.way.attention, "--label", group.way.label]
    words += ["--share", *map(str, group.share)]
    words += ["--faults", json.dumps(dict(launch.faults))]
    words += ["--quick"] if launch.quick else []
    return words if only is None else [*words, "--only", json.dumps(only)]


def _environment(way: Way) -> dict[str, str]:
    """This process's, with the way's; XLA's flags are put together."""
    mine = dict(os.environ)
    for name, value in way.environment.items():
        mine[name] = f"{mine.get(name, '')} {value}".strip() if name == "XLA_FLAGS" else value
    paths = [str(ROOT / "scripts"), str(ROOT), mine.get("PYTHONPATH", "")]
    return mine | {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUNBUFFERED": "1"}
