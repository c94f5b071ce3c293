"""How --help shows a flag: what it does, its default, and its twin in the environment."""

from __future__ import annotations

import argparse

from jaxpaged.cli.environment import environment_name

_HIDDEN = frozenset(("help", "version"))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds to every long flag's line what it does not say itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        long = [option for option in action.option_strings if option.startswith("--")]
        if text is None or not long or action.dest in _HIDDEN:
            return text
        if "default" not in text:
            text += f" (default: {_shown(action)})"
        return f"{text} [{environment_name(long[0])}]"


def _shown(action: argparse.Action) -> str:
    if action.nargs == 0 and not action.default:
        return "off"
    return "none" if action.default in (None, "", []) else "%(default)s"
