"""The figures as pictures: published in grey, reservation in sand, ours in blue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paper.figures import Figures
from paper.published import BATCHED, LIVE, POLICIES, PREFIX_THROUGHPUT, SAVING, WASTE
from paper.workload import WORKLOADS

PUBLISHED, RESERVING, OURS, LIGHT, INK = "#b4b8bf", "#dcae6b", "#2463b4", "#8fb4e3", "#30343b"
SYSTEMS = (*POLICIES, "paged")
LABELS = ("Orca\nMax", "Orca\nPow2", "Orca\nOracle", "paged")
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.axisbelow": True,
}


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write the pictures; returns their paths."""
    pictures = {"memory": draw_memory, "sharing": draw_sharing, "pages": draw_pages}
    written = []
    with pyplot.rc_context(STYLE):
        for name, drawing in pictures.items():
            figure = drawing(figures)
            path = folder / f"{name}.png"
            figure.savefig(path, metadata={"Software": None})
            pyplot.close(figure)
            written.append(path)
    return written


def bars(axes: Axes, places: Sequence[float], heights: Sequence[float], text: str, **style: Any) -> None:
    """Bars with their values on top, written by the format `text`."""
    drawn = axes.bar(places, heights, **style)
    axes.bar_label(drawn, [text.format(height) for height in heights], fontsize=8.5, padding=1.5)


def pairs(axes: Axes, published: Sequence[float], ours: Sequence[float], text: str) -> None:
    """Published beside replayed, system by system."""
    places = range(len(SYSTEMS))
    colors = [RESERVING] * len(POLICIES) + [OURS]
    bars(axes, [place - 0.2 for place in places], published, text, color=PUBLISHED, width=0.38)
    bars(axes, [place + 0.2 for place in places], ours, text, color=colors, width=0.38)
    axes.set_xticks(list(places), LABELS)
    axes.margins(y=0.12)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def legend(figure: Figure, entries: dict[str, str]) -> None:
    patches = [Rectangle((0, 0), 1, 1, color=color) for color in entries.values()]
    figure.legend(patches, list(entries), loc="outside lower center", ncols=len(entries))


def draw_memory(figures: Figures) -> Figure:
    """Live share of KV memory (the paper's figure 2) and requests at once (its figure 13)."""
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
    live = figures.capacity["ShareGPT-like"]
    pairs(axes[0], [100 * LIVE[name] for name in SYSTEMS], [100 * live[name].live for name in SYSTEMS], "{:.1f}")
    axes[0].set_title("KV memory that holds tokens, %\nShareGPT-like lengths")
    for place, name in zip(axes[1:], ("ShareGPT-like", "Alpaca-like"), strict=True):
        held = [figures.capacity[name][system].requests for system in SYSTEMS]
        pairs(place, [BATCHED[name][system] for system in SYSTEMS], held, "{:.1f}")
        place.set_title(f"Requests at once in 15,728 slots\n{name} lengths")
    legend(figure, {"published": PUBLISHED, "reservation, simulated": RESERVING, "jaxpaged": OURS})
    return figure


def draw_sharing(figures: Figures) -> Figure:
    """Memory saved by sharing (the paper's figure 15)."""
    figure, axes = pyplot.subplots(1, 4, figsize=(11, 3.7), layout="constrained", width_ratios=(3, 3, 4, 4))
    titles = {"parallel": "Parallel sampling", "beam": "Beam search"}
    cells = [(method, workload.name) for method in titles for workload in WORKLOADS]
    for place, (method, name) in zip(axes, cells, strict=True):
        found = figures.saving[method, name]
        low, high = (100 * bound for bound in SAVING[method, name])
        place.axhspan(low, high, color=PUBLISHED, alpha=0.55, linewidth=0)
        bars(place, range(len(found)), [100 * value for value in found.values()], "{:.1f}", color=OURS, width=0.55)
        place.set_xticks(range(len(found)), [str(n) for n in found])
        place.set_xlabel("n" if method == "parallel" else "beam width")
        place.set_title(f"{titles[method]}\n{name}")
        place.set_ylim(0, 35 if method == "parallel" else 90)
    axes[0].set_ylabel("KV memory saved, %")
    legend(figure, {"range that the paper gives for 2 to 6": PUBLISHED, "jaxpaged": OURS})
    return figure


def draw_pages(figures: Figures) -> Figure:
    """Waste by page size, and requests at once behind a shared prefix."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
    draw_waste(axes[0], figures)
    draw_prefix(axes[1], figures)
    return figure


def draw_waste(axes: Axes, figures: Figures) -> None:
    for workload, color, below in zip(WORKLOADS, (LIGHT, OURS), (False, True), strict=True):
        waste = figures.waste[workload.name]
        values = [100 * value for value in waste.values()]
        axes.plot(range(len(waste)), values, "o-", color=color, label=workload.name)
        for place, value in enumerate(values):
            offset = (0, -14) if below and value < 100 * WASTE else (0, 7)
            axes.annotate(f"{value:.1f}", (place, value), offset, textcoords="offset points", ha="center", fontsize=8.5)
    axes.axhline(100 * WASTE, color=INK, linewidth=1, linestyle=":")
    axes.text(len(waste) - 1, 100 * WASTE + 0.8, "4 %", ha="right", fontsize=8.5)
    axes.set_xticks(range(len(waste)), [str(page) if page != 32 else "32\n(default)" for page in waste])
    axes.set_ylim(-4, None)
    axes.set_xlabel("tokens in a page")
    axes.set_ylabel("waste, % of held slots")
    axes.set_title("Waste in pages")
    axes.legend()


def draw_prefix(axes: Axes, figures: Figures) -> None:
    kinds = {
        "reserving": ("Orca (Oracle)", RESERVING),
        "paged": ("paged", LIGHT),
        "shared": ("paged, prefix shared", OURS),
    }
    for index, (kind, (label, color)) in enumerate(kinds.items()):
        held = [getattr(prefix, kind) for prefix in figures.prefix.values()]
        places = [place + 0.27 * (index - 1) for place in range(len(held))]
        bars(axes, places, held, "{:.0f}", color=color, width=0.25, label=label)
    ticks = [
        f"prefix of {tokens} tokens\npaper: {PREFIX_THROUGHPUT[tokens]} x the throughput" for tokens in figures.prefix
    ]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.25)
    axes.set_title("Requests at once behind a shared prefix")
    axes.legend(ncols=3, loc="upper center")
