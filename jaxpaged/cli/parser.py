"""How the arguments of a command are read: from a file, from the environment, from the command line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence

from jaxpaged.cli.config_file import read_defaults
from jaxpaged.cli.environment import from_environment
from jaxpaged.cli.help import HelpFormatter
from jaxpaged.cli.spelling import plain_spelling
from jaxpaged.errors import ConfigError


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


def parse(
    prog: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    arguments: Sequence[str],
) -> argparse.Namespace:
    """The flags of one command; the file that --config names comes first, then JAXPAGED_* variables: flags win."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [options]",
        description=description,
        epilog="The variables in brackets say the same in the environment; flags win.",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    add_arguments(parser)
    arguments = plain_spelling(arguments, parser._option_string_actions)
    if "--config" in parser._option_string_actions and (path := _config_file(prog, arguments)) is not None:
        try:
            parser.set_defaults(**read_defaults(parser, path))
        except ConfigError as error:
            parser.error(str(error))
    return parser.parse_all([*from_environment(parser), *arguments])


def _config_file(prog: str, arguments: Sequence[str]) -> str | None:
    """What --config names, looked for before everything else: it changes the defaults of the rest."""
    parser = argparse.ArgumentParser(prog, usage="%(prog)s [options]", add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    path = parser.parse_known_args([*from_environment(parser), *arguments])[0].config
    return None if path is None else str(path)
