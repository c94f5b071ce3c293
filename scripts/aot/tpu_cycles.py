#!/usr/bin/env python3
"""Count the bundles that libtpu schedules for the TPU attention kernels, loop by loop and branch by branch.

    scripts/aot/tpu_cycles.py [--target v5e v6e tpu7x] [--case llama8b]

The compiler estimates no cycles of a Mosaic kernel, but a TPU issues one bundle a cycle, so a loop takes its bundles
times its trips, or what its copies take where they are slower. Waiting is not counted. A body's bundles are printed
without those of the loops and branches in it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SLOTS = 4  # bundles after a branch that are issued whether it is taken or not
BUNDLE = re.compile(r"^\s*(0x[0-9a-f]+|0)\s+([A-Z]{2}\s*)*:\s*>*\s*\{")
BRANCH = re.compile(r"sbr\.rel \([^)]*\) target = \$region(\d+)")
REGION = re.compile(r"Start(?:/End empty)? region (\d+)")


@dataclass(frozen=True)
class Span:
    """Bundles begin:end of a loop's body, of what a branch may skip ("if"), or of the whole kernel."""

    kind: str
    begin: int
    end: int

    def __contains__(self, bundle: int) -> bool:
        return self.begin <= bundle < self.end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", default=["v5e", "v6e", "tpu7x"])
    parser.add_argument("--case", default="llama8b")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Read once, when libtpu is loaded.
        flags = (
            f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=final_bundles"
        )
        os.environ["LIBTPU_INIT_ARGS"] = flags
        from scripts.aot import tpu_kernels

        for target in args.target:
            problems = tpu_kernels.check(tpu_kernels.TARGETS[target], tpu_kernels.CASES[args.case])
            for name in tpu_kernels.KERNELS:
                print(f"{target} {args.case} {name} {'; '.join(problems)}")
                (dump,) = (p for p in Path(folder).glob(f"*-{name}*final_bundles.txt") if "analysis" not in p.name)
                print("\n".join(lines(dump.read_text())), flush=True)
            for path in Path(folder).iterdir():
                path.unlink()


def lines(text: str) -> Iterator[str]:
    """One line a span: its first bundle, what it is, and the bundles that are in no shorter span."""
    found = spans(text)
    total = max(span.end for span in found)
    own = Counter(min((s for s in found if at in s), key=_size) for at in range(total))
    for span in (span for span in found if own[span]):
        depth = sum(span.begin in other and _size(other) > _size(span) for other in found)
        yield f"{span.begin:6x} {'  ' * depth}{span.kind} {own[span]}"


def _size(span: Span) -> tuple[int, bool]:
    """For an order in which a loop is within the test of whether it runs at all."""
    return span.end - span.begin, span.kind != "loop"


def spans(text: str) -> list[Span]:
    """All spans of a dump of final bundles in the order of their beginnings, the outer one first."""
    bundles = [line for line in text.splitlines() if BUNDLE.match(line)]
    regions = {int(region): at for at, line in enumerate(bundles) for region in REGION.findall(line)}
    found = {Span("kernel", 0, len(bundles))}
    for at, line in enumerate(bundles):
        for region in BRANCH.findall(line):
            target = regions[int(region)]
            if target <= at:
                found.add(Span("loop", target, min(at + 1 + SLOTS, len(bundles))))
            elif target > at + 1 + SLOTS:
                found.add(Span("if", at + 1 + SLOTS, target))
    return sorted(found, key=lambda span: (span.begin, -span.end))


if __name__ == "__main__":
    main()
