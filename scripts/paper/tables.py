"""The figures as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paper.figures import Figures
from paper.published import BATCHED, KV_SLOTS, LIVE, PAGE, POLICIES, PREFIX_THROUGHPUT, SAVING
from paper.workload import SEED, SIGMA, TRANSLATION, WORKLOADS

NAMES = {**{policy: f"Orca ({policy})" for policy in POLICIES}, "paged": "paged (vLLM; jaxpaged)"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def report(figures: Figures) -> str:
    """The page that goes beside the pictures."""
    lengths = ", ".join(f"{workload.prompt:g}/{workload.answer:g} ({workload.name})" for workload in WORKLOADS)
    estimate = f"{TRANSLATION.prompt:g} tokens in, {TRANSLATION.answer:g} out, sigma {TRANSLATION.sigma}"
    return f"""# The PagedAttention paper's memory figures, reproduced

Written by `python scripts/reproduce_paper.py`; {figures.requests} requests a run, more where memory is filled. The
scheduler and the page allocator are the real ones, driven step by step; the model answers 1 to everything, and no
device is needed. Orca is simulated, as in the paper: a buddy allocator gives each request one contiguous piece when it
starts.

Prompts and answers have lognormal lengths with the paper's means, {lengths}.
The paper does not give their spread: sigma is {SIGMA} (others below), seed {SEED}. Arrivals are Poisson. Pages have
{PAGE} tokens unless the table says otherwise, and memory to fill is the paper's, {KV_SLOTS:,} token slots (OPT-13B on a
40 GB A100).

"Published" in the first table are bars of the paper's figures 2 and 13 as remembered, not read off anew; the ranges in
the second stand in its text.

## How much of the memory holds tokens, and how many requests that makes

The paper's runs had 2 (ShareGPT) and 30 (Alpaca) requests a second; here requests always wait, so memory is full.


![memory](memory.png)

{capacity_table(figures)}

## Saving by sharing

Saving = 1 - physical / logical pages, summed over all steps. Beams fork and drop pages by the parents that a beam
search over the bundled model chose (`scripts/paper/record_parents.py`); as in the paper's runs, no beam ends before the
others. "Beams at best" all continue one beam at every step: no two can share the page that they write to, which is much
of a short sequence.

![sharing](sharing.png)

{saving_table(figures)}

## Waste in pages

Waste = 1 - filled / held slots. "Under 4 %" holds for conversations at the default page of 32 tokens, not for short
requests.

![pages](pages.png)

{waste_table(figures)}

## Shared prefixes

Translation of a sentence behind 80 or 341 tokens of examples, pinned; the sentences are an estimate of ours
({estimate}). The paper gives throughput; here is how many requests the same memory
holds at once.

{prefix_table(figures)}

## Other spreads of lengths

ShareGPT-like means, other sigmas. The paper: 16.2 % (n = 2) to 30.5 % (n = 6), beams from 44.3 %.

{spread_table(figures)}
"""


def capacity_table(figures: Figures) -> str:
    head = ["", "live, published", "live, replayed"]
    for workload in reversed(WORKLOADS):
        head += [f"{workload.name}: requests, published", "replayed"]
    rows = []
    for system, title in NAMES.items():
        row = [title, percent(LIVE[system]), percent(figures.capacity["ShareGPT-like"][system].live)]
        for workload in reversed(WORKLOADS):
            found = figures.capacity[workload.name][system].requests
            row += [f"{BATCHED[workload.name][system]:.1f}", f"{found:.1f}"]
        rows.append(row)
    return table(head, rows)


def saving_table(figures: Figures) -> str:
    rows = []
    for (method, workload), found in figures.saving.items():
        low, high = SAVING[method, workload]
        title = "parallel sampling" if method == "parallel" else "beam search"
        cells = [percent(found[n]) if n in found else "" for n in (2, 4, 6, 8)]
        rows.append([f"{title}, {workload}", f"{100 * low:.1f}-{100 * high:.1f} %", *cells])
    for workload, found in figures.most.items():
        rows.append([f"beams at best, {workload}", "", *(percent(found[n]) for n in (2, 4, 6, 8))])
    return table(["", "published, 2 to 6", "2", "4", "6", "8"], rows)


def waste_table(figures: Figures) -> str:
    pages = list(figures.waste["ShareGPT-like"])
    rows = [[name, *map(percent, waste.values())] for name, waste in figures.waste.items()]
    return table(["page", *map(str, pages)], rows)


def prefix_table(figures: Figures) -> str:
    rows = [
        [
            f"{tokens} tokens",
            percent(prefix.saving),
            f"{prefix.reserving:.0f}",
            f"{prefix.paged:.0f}",
            f"{prefix.shared:.0f}",
            f"{prefix.shared / prefix.reserving:.1f} x",
            f"{PREFIX_THROUGHPUT[tokens]} x",
        ]
        for tokens, prefix in figures.prefix.items()
    ]
    head = ["prefix", "saving", "Orca (Oracle): requests", "paged", "paged, shared", "shared / Oracle"]
    return table([*head, "published throughput / Oracle"], rows)


def spread_table(figures: Figures) -> str:
    rows = [
        [
            f"{sigma:g}",
            percent(spread.parallel_2),
            percent(spread.parallel_6),
            percent(spread.beam_2),
            percent(spread.waste),
            f"{spread.oracle:.1f}",
            f"{spread.paged:.1f}",
        ]
        for sigma, spread in figures.spread.items()
    ]
    head = ["sigma", "n = 2", "n = 6", "beam 2", "waste, page 32", "requests, Orca (Oracle)", "paged"]
    return table(head, rows)
