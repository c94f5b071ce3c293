"""The command `jaxpaged`."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from jaxpaged import __version__
from jaxpaged.cli import (
    bench_latency,
    bench_serve,
    bench_throughput,
    chat,
    complete,
    convert,
    env,
    models,
    run_batch,
    serve,
)
from jaxpaged.cli.config_file import read_defaults
from jaxpaged.cli.flags import from_environment
from jaxpaged.cli.help import HelpFormatter
from jaxpaged.cli.outcome import run_command
from jaxpaged.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below a command."""

    summary: str
    commands: Mapping[str, ModuleType | Group]


BENCH = Group(
    "measure speed: throughput and latency in this process, or a running server",
    {"throughput": bench_throughput, "latency": bench_latency, "serve": bench_serve},
)
ROOT = Group(
    "Serve large language models in pure JAX.",
    {
        "serve": serve,
        "chat": chat,
        "complete": complete,
        "run-batch": run_batch,
        "bench": BENCH,
        "convert": convert,
        "models": models,
        "env": env,
    },
)


class Parser(argparse.ArgumentParser):
    """Names the closest flag when one is unknown."""

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.error(f"unknown argument {unknown[0]}{hint}")
        return parsed


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
    name = parser.parse_known_args(arguments[:1])[0].command
    found = group.commands[name]
    if isinstance(found, Group):
        return dispatch(found, f"{prog} {name}", arguments[1:])
    args = parse(found, f"{prog} {name}", arguments[1:])
    return run_command(lambda: found.run(args, arguments[1:]), debug=args.debug)


def parse(command: ModuleType, prog: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The flags of one command; the file that --config names comes first, then JAXPAGED_* variables: flags win."""
    description = (command.__doc__ or "").strip()
    parser = Parser(
        prog=prog,
        usage="%(prog)s [options]",
        description=description,
        epilog="The variables in brackets say the same in the environment; flags win.",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    command.add_arguments(parser)
    if "--config" in parser._option_string_actions and (path := _config_file(arguments)) is not None:
        try:
            parser.set_defaults(**read_defaults(parser, path))
        except ConfigError as error:
            parser.error(str(error))
    return parser.parse_all([*from_environment(parser), *arguments])


def _config_file(arguments: Sequence[str]) -> str | None:
    """What --config names, looked for before everything else: it changes the defaults of the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    path = parser.parse_known_args([*from_environment(parser), *arguments])[0].config
    return None if path is None else str(path)


def _summary(command: ModuleType | Group) -> str:
    if isinstance(command, Group):
        return command.summary
    return (command.__doc__ or "").strip().partition("\n")[0].partition(": ")[2].rstrip(".")
