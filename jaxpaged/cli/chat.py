"""chat: talk to a running server.

Type a message and Enter; an empty line or Ctrl-D ends.
"""

from __future__ import annotations

import argparse
from typing import Any

from jaxpaged.arguments.values import number, positive
from jaxpaged.cli.http_stream import Endpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint_flags(parser)
    parser.add_argument("--system-prompt", metavar="TEXT", help="how the model should behave")
    parser.add_argument("-q", "--quick", metavar="TEXT", help="ask only this, print the answer and end")


def add_endpoint_flags(parser: argparse.ArgumentParser) -> None:
    """Which server to ask."""
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="the server (default: %(default)s)")
    parser.add_argument("--model-name", metavar="NAME", help="the model to ask, if not the server's first")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key")
    parser.add_argument("--max-tokens", type=positive, metavar="N", help="longest answer")
    parser.add_argument("--temperature", type=number, help="0 for the likeliest answer")


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling fields that were given."""
    return {name: value for name in ("max_tokens", "temperature") if (value := getattr(args, name)) is not None}


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    endpoint = Endpoint(args.url, args.api_key)
    model = args.model_name or endpoint.model()
    history = [{"role": "system", "content": args.system_prompt}] if args.system_prompt else []
    fields = {"model": model, "stream": True, **sampling(args)}
    if args.quick is not None:
        _answer(endpoint, [*history, {"role": "user", "content": args.quick}], fields)
        return 0
    print(f"Talking to {model}; an empty line or Ctrl-D ends.")
    while message := _read("> "):
        history.append({"role": "user", "content": message})
        history.append({"role": "assistant", "content": _answer(endpoint, history, fields)})
    return 0


def _answer(endpoint: Endpoint, messages: list[dict[str, str]], fields: dict[str, Any]) -> str:
    answer = ""
    for event in endpoint.events("/chat/completions", {"messages": messages, **fields}):
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            print(piece, end="", flush=True)
            answer += piece
    print()
    return answer


def _read(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        print()
        return ""
