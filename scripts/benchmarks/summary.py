"""README's section on performance: one plot, one table, what was missed; and the page with all figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engines import ROOT
from benchmarks.tables import all_tables, asked_table, missed, number

DOCS = Path("jaxpaged/docs/benchmarks")
BEGIN, END = "<!-- scripts/bench_all --readme writes this -->", "<!-- until here -->"

OTHER = "What was asked for was meant for a machine with AVX512-BF16, which this one is not."


def section(figures: Mapping[str, Any]) -> str:
    """README's, from the results that are kept in DOCS."""
    return f"""{BEGIN}

## Figures

{_setting(figures)} Engines run in turn, and a multiple is the median of its rounds; bold is missed.

![Throughput and time to the first token by the number of streams]({DOCS}/streams.png)

{asked_table(figures)}

{_missed(figures)}

All figures, a step and a start by part, how cost grows, how each is measured, other machines:
[benchmarks](jaxpaged/docs/benchmarks.md). `scripts/bench_all` repeats them.

{END}"""


def page(figures: Mapping[str, Any]) -> str:
    """results.md: what lies beside the plots."""
    missing = "".join(f"- {sentence}\n" for sentence in figures.get("missing", {}).values())
    return f"""# Results

Written by `scripts/bench_all`. {_setting(figures)}

{missing}
## What was asked for

{asked_table(figures)}

## All figures

Medians over rounds; "itl" is the time between a stream's events.

{all_tables(figures)}
"""


def put_into_readme(figures: Mapping[str, Any], readme: Path = ROOT / "README.md") -> None:
    """Replace the section. Raises ValueError where its marks are not there."""
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no section between {BEGIN} and {END}; put the two marks where it belongs.")
    before, _, rest = text.partition(BEGIN)
    readme.write_text(before + section(figures) + rest.partition(END)[2], encoding="utf-8")


def _setting(figures: Mapping[str, Any]) -> str:
    machine, settings = figures["machine"], figures["settings"]
    engines = ", ".join(f"{name} {version}" for name, version in figures["engines"].items())
    dates = sorted({entry["date"] for entry in figures.get("benchmarks", {}).values()})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "never"
    features = ", ".join(machine["features"]) or "no vector extensions that we look for"
    bounds = "" if "avx512_bf16" in machine["features"] else f" {OTHER}"
    return (
        f"Measured {when} on {machine['cores']} cores of {machine['processor']} ({features}), {settings['model']}, "
        f"{settings['dtype']}, {settings['rounds']} "
        f"round{'' if settings['rounds'] == 1 else 's'}: {engines}.{bounds}"
    )


def _missed(figures: Mapping[str, Any]) -> str:
    found = missed(figures)
    if not found:
        return "Nothing that was measured is missed."
    named: dict[str, list[str]] = {}
    for row, check, value in found:
        named.setdefault(row.what, []).append(f"{number(value)}{row.unit} of {number(check.bound)}")
    return "Missed: " + "; ".join(f"{what}: {', '.join(values)}" for what, values in named.items()) + "."
