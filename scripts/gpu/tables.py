"""Outcomes as Markdown, for the end of what a run prints. Imports no jax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpu.watch import Outcome

GATE = ("ladder", "specs")
CASES = ("cases", "more cases")


def status_table(outcomes: Iterable[Outcome]) -> list[str]:
    """The gate's: ok, wrong (error), raise, abort or hang of each check."""
    rows = [outcome for outcome in outcomes if outcome.group in GATE]
    lines = [f"| {row.part} | {_status(row)} | {row.detail[:100].replace('|', '/')} |" for row in rows]
    return ["| check | outcome | why |", "|---|---|---|", *lines] if lines else []


def _status(outcome: Outcome) -> str:
    error = outcome.figures.get("error") if isinstance(outcome.figures, Mapping) else None
    return outcome.status if error is None else f"{outcome.status} ({error:.1e})"


def sweep_table(outcomes: Iterable[Outcome]) -> list[str]:
    """Milliseconds a layer of each variant of the kernels' sizes."""
    rows = [outcome for outcome in outcomes if outcome.group == "sweep"]
    lines = [f"| {row.part} | {row.status} | {_times(row.figures) or row.detail[:100]} |" for row in rows]
    return ["| variant | outcome | ms |", "|---|---|---|", *lines] if lines else []


def _times(figures: Any) -> str:
    times = figures.get("times_ms", {}) if isinstance(figures, Mapping) else {}
    return ", ".join(f"{name} {ms:.4f}" for name, ms in times.items())


def attention_table(outcomes: Iterable[Outcome]) -> list[str]:
    """Milliseconds a layer; the share is of the least time that the copy and the matrix product allow."""
    rows = [outcome for outcome in outcomes if outcome.group in CASES]
    lines = [
        "| case | outcome | error (rounding) | ms (best-worst) | TB/s | TFLOP/s | share | host ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = row.figures if isinstance(row.figures, Mapping) else {}
        cells = [row.part, row.status]
        cells += [f"{figures['error']:.1e} ({figures['rounding']:.1e})" if "error" in figures else row.detail[:80]]
        if "ms" in figures and "share" in figures:
            cells += [f"{figures['ms']:.4f} ({figures['best_ms']:.4f}-{figures['worst_ms']:.4f})"]
            cells += [f"{figures['tb_per_s']:.2f}", f"{figures['tflop_per_s']:.1f}", f"{figures['share']:.1%}"]
            cells += [f"{figures['host_ms']:.4f}"]
        else:
            cells += [f"{figures['ms']:.4f}" if "ms" in figures else "", *[""] * 4]
        lines.append(f"| {' | '.join(cells)} |")
    return lines if rows else []
