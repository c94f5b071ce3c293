"""`python -m server`: what `jaxpaged serve` becomes."""

from __future__ import annotations

import argparse
import sys

from jaxpaged.cli import run_command
from server.flags import parse_flags


def main() -> int:
    args = parse_flags(sys.argv[1:])
    return run_command(lambda: _serve(args), debug=args.debug)


def _serve(args: argparse.Namespace) -> int:
    from server.start import serve  # loads the web framework, for which --help does not wait

    return serve(args)


if __name__ == "__main__":
    sys.exit(main())
