"""`python -m server.batches`: what `jaxpaged run-batch` becomes."""

from __future__ import annotations

import argparse
import sys

from jaxpaged.cli import (
    add_engine_class,
    add_engine_flags,
    add_vllm_server_flags,
    not_negative,
    parse,
    positive,
    run_command,
)
from server.flags import MAX_STOP_STRINGS, add_chat

DESCRIPTION = "run-batch: answer the requests of a file, one a line, without a server."


def main() -> int:
    args = parse("jaxpaged run-batch", DESCRIPTION, add_arguments, sys.argv[1:])
    return run_command(lambda: _run(args), debug=args.debug)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser)
    group = parser.add_argument_group("batch")
    add = group.add_argument
    add("-i", "--input-file", required=True, metavar="FILE", help="JSON lines with custom_id, method, url and body, as "
        "OpenAI's Batch API takes them; - is standard input")  # fmt: skip
    add("-o", "--output-file", required=True, metavar="FILE", help="where the answers go, in the order of the "
        "requests; - is standard output")  # fmt: skip
    add("--concurrency", type=positive, metavar="LINES", help="requests that are on their way at once (default: "
        "twice --max-num-seqs)")  # fmt: skip
    add("--max-line-bytes", type=positive, default=32 * 2**20, metavar="BYTES", help="longest line; longer ones fail "
        "(default: %(default)s)")  # fmt: skip
    add("--max-stop-strings", type=not_negative, default=MAX_STOP_STRINGS, metavar="COUNT", help="most stop strings of "
        "a request (default: %(default)s)")  # fmt: skip
    add_chat(add)
    add_engine_class(group)
    add_vllm_server_flags(parser)


def _run(args: argparse.Namespace) -> int:
    from server.batches.from_file import run  # loads the web framework, for which --help does not wait

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
