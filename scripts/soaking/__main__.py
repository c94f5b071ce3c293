"""Disconnects, memory and engine crashes, at full size: a table, and JSON where asked for.

    scripts/soak [--scale 0.1] [--json FILE] [disconnects memory crashes]

Each part starts its own server with the bundled model. Exit code 1 if a figure misses its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from soaking.parts import PARTS, Figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full numbers (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}.")
    figures: list[Figure] = []
    for name in args.parts or PARTS:
        began = time.monotonic()
        found = asyncio.run(PARTS[name](args.scale, args.seed))
        print(f"{name}: {time.monotonic() - began:.0f} s\n{table(found)}", flush=True)
        figures += found
        if args.json is not None:  # after every part: a later one may fail
            args.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    return 0 if all(figure.holds for figure in figures) else 1


def table(figures: list[Figure]) -> str:
    lines = ["| figure | measured | bound | |", "|---|---|---|---|"]
    lines += [f"| {f.name} | {f.value:g} | {f.bound} | {'ok' if f.holds else 'MISSED'} |" for f in figures]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
