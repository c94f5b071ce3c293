"""The PagedAttention paper's memory figures on our scheduler and page allocator, beside the published ones.

    python scripts/reproduce_paper.py [--requests 1000] [--out jaxpaged/docs/paper]

Needs no device and no weights; some minutes. Writes figures.md and the pictures (matplotlib is in the test extra).
What is replayed, and how, stands in the page that it writes; scripts/paper/ holds the parts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paper.figures import measure
from paper.plots import draw
from paper.tables import report

OUT = Path(__file__).resolve().parents[1] / "jaxpaged" / "docs" / "paper"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="requests of a run")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for figures.md and the pictures")
    arguments = parser.parse_args()
    figures = measure(arguments.requests)
    arguments.out.mkdir(parents=True, exist_ok=True)
    page = arguments.out / "figures.md"
    page.write_text(report(figures))
    for path in (page, *draw(figures, arguments.out)):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
