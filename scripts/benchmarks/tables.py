"""Results as Markdown: README's table of what was asked for, and all figures by benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.results import cell_of
from benchmarks.rounds import ratio
from benchmarks.targets import ROWS, Check, Row

UNITS = {
    "tok_per_s": "tokens/s", "ttft_ms_p50": "TTFT p50 ms", "ttft_ms_p99": "TTFT p99 ms", "itl_ms_p50": "ITL p50 ms",
    "itl_ms_p99": "ITL p99 ms", "ttft_ms": "TTFT ms", "seconds": "s", "start_s": "whole s", "memory_mb": "memory MB",
}  # fmt: skip


def value_of(figures: Mapping[str, Any], check: Check) -> float | None:
    """The figure, or the multiple of the peer's; None where it was not measured."""
    ours = cell_of(figures, check.benchmark, check.case, check.engine)
    if ours is None:
        return None
    if not check.against:
        value: float | None = ours["figures"].get(check.figure)
        return value
    peer = cell_of(figures, check.benchmark, check.case, check.against)
    return None if peer is None else ratio(ours, peer, check.figure)


def asked_table(figures: Mapping[str, Any]) -> str:
    """README's: bold where it was missed."""
    rows = [_asked_row(figures, row) for row in ROWS]
    return _table(["what", "asked for", "measured"], rows)


def _asked_row(figures: Mapping[str, Any], row: Row) -> list[str]:
    sign = "<=" if row.checks[0].most else ">="
    asked = " / ".join(number(check.bound) for check in row.checks)
    values = [value_of(figures, check) for check in row.checks]
    if all(value is None for value in values):
        return [row.what, f"{sign} {asked}{row.unit}", "not measured"]
    measured = []
    for check, value in zip(row.checks, values, strict=True):
        shown = "-" if value is None else number(value)
        measured.append(shown if value is None or check.holds(value) else f"**{shown}**")
    return [row.what, f"{sign} {asked}{row.unit}", f"{' / '.join(measured)}{row.unit}"]


def missed(figures: Mapping[str, Any]) -> list[tuple[Row, Check, float]]:
    """What was measured and is not as good as was asked for."""
    found = []
    for row in ROWS:
        for check in row.checks:
            value = value_of(figures, check)
            if value is not None and not check.holds(value):
                found.append((row, check, value))
    return found


def all_tables(figures: Mapping[str, Any]) -> str:
    """Each benchmark with its cells: medians, and how many rounds they are of."""
    parts = []
    for name, entry in figures.get("benchmarks", {}).items():
        why = f": {entry['why']}" if "why" in entry else ""
        parts.append(
            f"### {name}\n\n{entry['status']}{why} ({entry['date']}, {entry['commit']}, {entry['seconds']:g} s)"
        )
        if entry["cells"]:
            parts.append(_cells_table(entry["cells"]))
    return "\n\n".join(parts)


def _cells_table(cells: list[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for cell in cells for name in cell["figures"]))
    rows = []
    for cell in cells:
        values = [cell["figures"].get(name) for name in names]
        shown = ["" if value is None else number(value) for value in values]
        rows.append([cell["case"], cell["engine"], *shown, str(len(cell["rounds"])), cell.get("failed", "")])
    return _table(["case", "engine", *(UNITS.get(name, name) for name in names), "rounds", "failed"], rows)


def number(value: float) -> str:
    """Three digits, thousands with commas."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
