"""The two calls on a lent card, in the order of what their figures are worth. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from gpu.groups import BY_XLA, LAUNCHES, PLAIN, Group, Section, Way
from gpu.watch import Outcome

# Seconds of a call. The first two fit 720 in all, with 10 each to end a stuck child and 15 for what is installed first.
LONGEST = MappingProxyType({"first": 520.0, "second": 165.0, "kernels": 400.0})
UNBOUNDED = 3600.0  # of a rehearsal: a slow machine must not change what runs
WAYS: Mapping[str, Way] = MappingProxyType({"plain": PLAIN, "launches": LAUNCHES, "xla": BY_XLA})
# Children of the gate share the card, and say what ptxas made of each kernel.
SHARED = Way(environment=MappingProxyType({"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "MOSAIC_GPU_DUMP_PTXAS": "1"}))
NCU = (
    "ncu", "--clock-control", "none", "--section", "SpeedOfLight", "--section", "Occupancy", "--section", "LaunchStats",
    "--kernel-name", "regex:paged|mosaic", "--launch-skip", "2", "--launch-count", "8",
)  # fmt: skip
FAULTY = ("wrong", "raise", "abort", "hang")


def sections(call: str, *, quick: bool) -> tuple[Section, ...]:
    """Of the call "first" or "second", or of "kernels": all that needs no engine."""
    made = _second() if call == "second" else {"first": _first, "kernels": _kernels}[call](quick)
    return tuple(map(_without_limits, made)) if quick else made


def _without_limits(section: Section) -> Section:
    groups = tuple(replace(group, limit=UNBOUNDED, start=UNBOUNDED) for group in section.groups)
    return replace(section, most=UNBOUNDED, groups=groups)


def _gate(quick: bool) -> tuple[Section, ...]:
    halves, shares = (1, 1) if quick else (2, 6)
    return (
        Section("ladder", 50.0, _shared("ladder", 25.0, halves), together=True),
        Section("specs", 50.0, _shared("specs", 25.0, shares), together=True),
    )


def _shared(tasks: str, limit: float, count: int) -> tuple[Group, ...]:
    return tuple(Group(tasks, tasks, limit, start=60.0, share=(i, count), way=SHARED) for i in range(count))


def _measured() -> tuple[Section, ...]:
    return (
        Section("cases", 75.0, (Group("cases", "cases", 40.0),)),
        Section("sweep", 65.0, (Group("sweep", "sweep", 25.0),)),
        Section("ncu", 35.0, (Group("ncu", "profiled", 35.0, prefix=NCU),), needs="ncu"),
    )


def _first(quick: bool) -> tuple[Section, ...]:
    return (*_gate(quick), *_measured(), Section("engine", 300.0, (_engine("first"),)))


def _second() -> tuple[Section, ...]:
    return (
        Section("engine", 105.0, (_engine("second"),)),
        Section("more cases", 120.0, (Group("more cases", "more cases", 40.0),)),
    )


def _kernels(quick: bool) -> tuple[Section, ...]:
    return (*_gate(quick), *_measured(), *_second()[1:])


def _engine(call: str) -> Group:
    return Group("engine", f"engine, {call}", 180.0, fallbacks=(BY_XLA,))


def way_after(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """What the ladder allows, a name in WAYS, and why: a check's name ends with how its program was compiled."""
    ladder = [outcome for outcome in outcomes if outcome.group == "ladder"]
    bad = [outcome.part for outcome in ladder if outcome.status in FAULTY]
    if not bad:
        return "plain", "no check of the ladder failed"
    why = f"of the ladder failed: {'; '.join(bad)}"
    if all(part.endswith("command buffers on") for part in bad):
        return "launches", why
    return "xla", why


def on_way(group: Group, way: str) -> Group:
    """The group as what the gate allows; it keeps what it was given besides."""
    if way == "plain" or group.way == SHARED:
        return group
    fallbacks = tuple(fallback for fallback in group.fallbacks if fallback != WAYS[way])
    return replace(group, way=replace(WAYS[way], label=""), fallbacks=fallbacks)
