"""Results as pictures: ours in blue, peers in grey, sand and green."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.engines import HF, LLAMA, OURS, VLLM
from paper.plots import STYLE

COLORS = MappingProxyType({OURS: "#2463b4", VLLM: "#dcae6b", LLAMA: "#5a9a6b", HF: "#8a8f98"})
PARTS = ("#2463b4", "#8fb4e3", "#dcae6b", "#5a9a6b", "#b4b8bf", "#8a6fb0", "#30343b")
Point = tuple[float, float]


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write those pictures that there are figures for; returns their paths."""
    pictures: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
        "streams": draw_streams,
        "step": draw_steps,
        "start": draw_starts,
        "growth": draw_growth,
    }
    written = []
    with pyplot.rc_context(STYLE):
        for name, drawing in pictures.items():
            figure = drawing(figures)
            if figure is not None:
                path = folder / f"{name}.png"
                figure.savefig(path, metadata={"Software": None})
                pyplot.close(figure)
                written.append(path)
    return written


def draw_streams(figures: Mapping[str, Any]) -> Figure | None:
    """Throughput and time to the first token by the number of streams."""
    speed = curves(figures, ("server",), "tok_per_s")
    first = curves(figures, ("server",), "ttft_ms_p50")
    if not speed:
        return None
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    lines(left, speed, "streams", "output tokens a second")
    lines(right, first, "streams", "time to first token, p50, ms")
    return figure


def draw_growth(figures: Mapping[str, Any]) -> Figure | None:
    """Throughput to 256 streams, and time to the first token by a prompt's length."""
    speed = curves(figures, ("server", "growth"), "tok_per_s", (OURS, VLLM))
    first = curves(figures, ("prompts",), "ttft_ms")
    if not speed and not first:
        return None
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    lines(left, speed, "streams", "output tokens a second")
    lines(right, first, "tokens of the prompt", "time to first token, ms")
    return figure


def draw_steps(figures: Mapping[str, Any]) -> Figure | None:
    """A decoding step's milliseconds by part."""
    cells = cells_of(figures, "step")
    if not cells:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 2.8), layout="constrained")
    named = {cell["case"]: {k: v for k, v in cell["figures"].items() if k != "step"} for cell in cells}
    stacked(axes, named, "ms a step")
    return figure


def draw_starts(figures: Mapping[str, Any]) -> Figure | None:
    """Seconds from a process's start to its first answer, ours by part."""
    cells = cells_of(figures, "start")
    if not cells:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    named = {}
    for cell in cells:
        parts = {k: v for k, v in cell["figures"].items() if k not in ("start_s", "memory_mb")}
        named[f"{cell['engine']}: {cell['case']}"] = parts or {"whole": cell["figures"]["start_s"]}
    stacked(axes, named, "seconds")
    return figure


def cells_of(figures: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    cells = figures.get("benchmarks", {}).get(name, {}).get("cells", [])
    return [cell for cell in cells if cell["rounds"]]


def curves(
    figures: Mapping[str, Any], names: Sequence[str], figure: str, engines: Sequence[str] = tuple(COLORS)
) -> dict[str, list[Point]]:
    """Points by engine; a case begins with the number that it stands for."""
    found: dict[str, list[Point]] = {}
    for cell in (cell for name in names for cell in cells_of(figures, name)):
        if cell["engine"] in engines:
            point = float(cell["case"].split()[0]), cell["figures"][figure]
            found.setdefault(cell["engine"], []).append(point)
    return {engine: sorted(points) for engine, points in found.items()}


def lines(axes: Axes, found: Mapping[str, list[Point]], across: str, up: str) -> None:
    for engine, points in found.items():
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker="o", markersize=4, color=COLORS[engine], label=engine)
    ticks = sorted({x for points in found.values() for x, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yscale("log")
    axes.set_xlabel(across)
    axes.set_title(up)
    axes.grid(axis="y", color="#e4e6ea", which="both", linewidth=0.6)
    if found:
        axes.legend()


def stacked(axes: Axes, named: Mapping[str, Mapping[str, float]], across: str) -> None:
    """A bar for each name, the first on top, its parts beside each other and their sum behind."""
    parts = list(dict.fromkeys(part for values in named.values() for part in values))
    colors = {part: PARTS[index % len(PARTS)] for index, part in enumerate(parts)}
    left = dict.fromkeys(named, 0.0)
    for part in parts:
        widths = [values.get(part, 0.0) for values in named.values()]
        axes.barh(list(named), widths, left=list(left.values()), color=colors[part], label=part, height=0.6)
        left = {name: left[name] + width for name, width in zip(left, widths, strict=True)}
    for name, end in left.items():
        axes.text(end, name, f"  {end:.3g}", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(across)
    figure = axes.get_figure()
    assert figure is not None
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
