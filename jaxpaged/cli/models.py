"""models: list the architectures that this version implements."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace, arguments: list[str]) -> int:
    from jaxpaged.models.registry import ARCHITECTURES

    for name in sorted(ARCHITECTURES):
        print(name)
    return 0
