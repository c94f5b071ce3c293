"""The command line of a call, and the call. Imports no jax."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gpu.call import Call
from gpu.faults import parse
from gpu.plan import LONGEST, UNBOUNDED, WAYS, sections
from gpu.report import Report


def add_call_arguments(parser: Any) -> None:
    """To a parser or a group of one."""
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument("--way", choices=WAYS, default="plain", help="how attention is served: the gate says which")
    parser.add_argument("--longest", type=float, metavar="SECONDS", help="of the whole call; what is left is skipped")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="PART=KIND", help="a rehearsal: abort, raise, hang or wrong"
    )


def run_call(name: str, options: argparse.Namespace) -> int:
    """`options.out`: the JSON file; the other files stand beside it. 1 when a part has failed."""
    signal.signal(signal.SIGTERM, _stop)
    out: Path = options.out.resolve()
    usual = UNBOUNDED if options.quick else LONGEST[name]
    longest = usual if options.longest is None else options.longest
    until = time.monotonic() + longest
    report = Report(" ".join(sys.argv), out, out.with_name("log.txt"))
    call = Call(report, options.quick, parse(options.fault), until, options.way)
    return call.run(sections(name, quick=options.quick))


def _stop(*_: object) -> None:
    """As an exception, so that children are ended too."""
    sys.exit(143)
