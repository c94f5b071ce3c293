"""The command `jaxpaged`."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn

from jaxpaged import __version__
from jaxpaged.cli import (
    bench_latency,
    bench_serve,
    bench_throughput,
    chat,
    complete,
    convert,
    doctor,
    env,
    models,
)
from jaxpaged.cli.outcome import run_command
from jaxpaged.cli.parser import Parser, parse


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a command."""

    summary: str
    commands: Mapping[str, ModuleType | Program | Group]


@dataclass(frozen=True, slots=True)
class Program:
    """A command in a package that this one may not import: it is started in place of this process."""

    summary: str
    module: str

    def start(self, arguments: Sequence[str]) -> NoReturn:
        os.execv(sys.executable, [sys.executable, "-m", self.module, *arguments])


BENCH = Group(
    "measure speed: throughput and latency in this process, or a running server",
    {"throughput": bench_throughput, "latency": bench_latency, "serve": bench_serve},
)
ROOT = Group(
    "Serve large language models in pure JAX.",
    {
        "serve": Program("answer OpenAI's HTTP protocol with one model", "server"),
        "chat": chat,
        "complete": complete,
        "run-batch": Program("answer the requests of a file, one a line, without a server", "server.batches"),
        "bench": BENCH,
        "convert": convert,
        "models": models,
        "doctor": doctor,
        "env": env,
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return dispatch(ROOT, "jaxpaged", list(sys.argv[1:] if argv is None else argv))


def dispatch(group: Group, prog: str, arguments: list[str]) -> int:
    """Find the command that `arguments` begin with and run it with the rest."""
    parser = Parser(prog=prog, description=group.summary, allow_abbrev=False)
    if group is ROOT:
        parser.add_argument("-v", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in group.commands.items():
        commands.add_parser(name, help=_summary(command), add_help=False)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in group.commands:
        close = difflib.get_close_matches(arguments[0], group.commands, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(group.commands)}"
        parser.error(f"there is no command {arguments[0]!r}; {hint}")
    name = parser.parse_known_args(arguments[:1])[0].command
    found = group.commands[name]
    if isinstance(found, Group):
        return dispatch(found, f"{prog} {name}", arguments[1:])
    if isinstance(found, Program):
        found.start(arguments[1:])
    args = parse(f"{prog} {name}", (found.__doc__ or "").strip(), found.add_arguments, arguments[1:])
    return run_command(lambda: found.run(args, arguments[1:]), debug=args.debug)


def _summary(command: ModuleType | Program | Group) -> str:
    if not isinstance(command, ModuleType):
        return command.summary
    return (command.__doc__ or "").strip().partition("\n")[0].partition(": ")[2].rstrip(".")
