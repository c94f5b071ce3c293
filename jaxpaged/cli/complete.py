"""complete: let a running server go on with a text.

Type a beginning and Enter; an empty line or Ctrl-D ends.
"""

from __future__ import annotations

import argparse
from typing import Any

from jaxpaged.cli.chat import _read, add_endpoint_flags, sampling
from jaxpaged.cli.http_stream import Endpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint_flags(parser)
    parser.add_argument("-q", "--quick", metavar="TEXT", help="complete only this, print it and end")


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    endpoint = Endpoint(args.url, args.api_key)
    fields = {"model": args.model_name or endpoint.model(), "stream": True, **sampling(args)}
    if args.quick is not None:
        _complete(endpoint, args.quick, fields)
        return 0
    print(f"Completing with {fields['model']}; an empty line or Ctrl-D ends.")
    while text := _read("> "):
        _complete(endpoint, text, fields)
    return 0


def _complete(endpoint: Endpoint, prompt: str, fields: dict[str, Any]) -> None:
    for event in endpoint.events("/completions", {"prompt": prompt, **fields}):
        for choice in event["choices"]:
            print(choice["text"], end="", flush=True)
    print()
