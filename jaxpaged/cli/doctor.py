"""doctor: say what is here (versions, devices, kernels, caches, memory) and what a model would be served as.

For bug reports: paste what it prints. It takes the flags of `jaxpaged serve`; nothing is loaded onto a device, and of a
model on the hub only small files are fetched.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from jaxpaged.arguments.flags import add_engine_flags, engine_config
from jaxpaged.config import EngineConfig
from jaxpaged.errors import ConfigError

Report = dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_engine_flags(parser)


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    report = report_of(args)
    print(json.dumps(report, indent=1, default=str) if args.json else as_text(report))
    return 0


def report_of(args: argparse.Namespace) -> Report:
    """Section -> what is known of it. A section that fails says so in its `problem`; the others go on."""
    from jaxpaged.cli.diagnosis import caches, devices, programs, variables
    from jaxpaged.cli.model_diagnosis import served

    try:
        config, problem = engine_config(args), None
    except ConfigError as error:
        config, problem = EngineConfig(), str(error)
    report: Report = {
        "programs": programs(),
        "devices": devices(),
        "caches": caches(config),
        "variables": variables(),
    }
    if problem is not None:
        report["flags"] = {"problem": problem}
    elif config.model.model is not None:
        report["model"] = served(config)
    return report


def as_text(report: Report) -> str:
    """A line for each fact, below the name of its section."""
    lines = []
    for section, facts in report.items():
        lines.append(section)
        for name, value in facts.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"  {name if index == 0 else '':<16} {one}" for index, one in enumerate(values)]
    return "\n".join(_printable(line) for line in lines)


def _printable(text: str) -> str:
    """Without what could steer a terminal: names of files and models are among the facts."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
