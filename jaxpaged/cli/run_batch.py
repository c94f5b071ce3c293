"""run-batch: answer the requests of a file, one a line, without a server."""

from __future__ import annotations

import argparse
import os
import sys

from jaxpaged.cli.flags import add_engine_flags, engine_config, integer
from jaxpaged.cli.serve import ENGINE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_flags(parser)
    add = parser.add_argument_group("batch").add_argument
    add("-i", "--input-file", required=True, metavar="FILE", help="JSON lines with custom_id, method, url and body, as "
        "OpenAI's Batch API takes them; - is standard input")  # fmt: skip
    add("-o", "--output-file", required=True, metavar="FILE", help="where the answers go, in the order of the "
        "requests; - is standard output")  # fmt: skip
    add("--concurrency", type=integer, metavar="LINES", help="requests that are on their way at once (default: "
        "twice --max-num-seqs)")  # fmt: skip
    add("--max-line-bytes", type=integer, default=32 * 2**20, metavar="BYTES", help="longest line; longer ones fail "
        "(default: %(default)s)")  # fmt: skip
    add("--chat-template", metavar="FILE", help="Jinja template (a file, or the text) instead of the tokenizer's own")
    add("--engine-class", default=ENGINE, help=argparse.SUPPRESS)  # a stand-in, for tests


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    """Become a program of the server's, a package that this one may not import: it reads the same arguments again."""
    engine_config(args)  # a mistake shows here, before anything is started
    os.execv(sys.executable, [sys.executable, "-m", "server.batches", *arguments])
