"""models: list the architectures that this version serves, their parts, and what each was compared with.

Those of installed packages (entry points jaxpaged.architectures) are listed too.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from jaxpaged.errors import ConfigError

if TYPE_CHECKING:
    from jaxpaged.models.catalogue import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", metavar="TEXT", help="only those whose names or parts contain this")
    parser.add_argument("--moe", action="store_true", help="only mixtures of experts")
    parser.add_argument("--mla", action="store_true", help="only those with latent attention")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    from jaxpaged.models.catalogue import EXPERTS, LATENT, catalogue
    from jaxpaged.models.custom import current_registry

    wanted = [part for part, is_wanted in ((EXPERTS, args.moe), (LATENT, args.mla)) if is_wanted]
    found = [
        entry
        for entry in catalogue(current_registry())
        if entry.mentions(args.search or "") and all(map(entry.has, wanted))
    ]
    if not found:
        raise ConfigError("no architecture matches; `jaxpaged models` without options lists all.")
    print(json.dumps([entry.as_json() for entry in found], indent=1) if args.json else as_text(found))
    return 0


def as_text(entries: list[Entry]) -> str:
    """A line each: the name first."""
    width = max(len(entry.architecture) for entry in entries)
    return "\n".join(
        f"{entry.architecture:<{width}}  {entry.reference:<12}  "
        f"{'TP EP' if entry.expert_parallel else 'TP   '}  {', '.join(entry.parts)}"
        for entry in entries
    )
